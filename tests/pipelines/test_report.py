"""The report's arithmetic, its files, its refusals; what a browser makes of it is in
`test_report_page.py`."""

import dataclasses
import itertools
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cueco_tf.clustering.describe import describe, set_apart
from cueco_tf.evaluation.features import normalize
from pipelines import report
from pipelines.reporting import findings as find
from pipelines.reporting import names, page, plots, style, thumbnails
from pipelines.reporting.flat_map import flat_map, place_all
from pipelines.reporting.similarity import BINS, pair_similarity
from pipelines.reporting.thumbnails import SplitPictures


def pixels(split):
    return normalize(split.images.reshape(len(split), -1) / 255.0 - 0.5)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Tags(HTMLParser):
    """The start tags of a page, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def built(digits_findings, digits):
    """The page of the digits run."""
    return page.build(digits_findings, plots.draw(digits_findings), SplitPictures(digits.train))


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory, cifar):
    """A run on a folder of images without labels."""
    from cueco_tf import train

    folder = tmp_path_factory.mktemp("unlabelled")
    (folder / "photos").mkdir()
    for i in range(40):
        Image.fromarray(cifar.train.images[i]).save(folder / "photos" / f"{i}.png")
    (folder / "photos" / "phone.NEF").touch()
    options = "--encoder resnet10 --width 16 --epochs 1 --batch-size 16 --clusters 4"
    options += " --learning-rate 0.4"
    where = ["--dataset", f"folder:{folder / 'photos'}", "--run-dir", str(folder / "run")]
    assert train.main([*where, *options.split()]) == 0
    return folder / "run"


# Arithmetic


def test_the_table_of_classes_is_that_of_a_slow_count(digits, digits_findings):
    z, labels = pixels(digits.train), digits.train.labels
    centroids = np.concatenate([z[:7], -z[:1]])  # no image is like the negative of an image
    clusters = set_apart(describe(z, centroids))
    looks = dataclasses.replace(digits_findings, clusters=clusters)
    for c in range(8):
        members = np.flatnonzero(clusters.assignments == c)
        counts = [int(np.sum(labels[members] == k)) for k in range(10)]
        np.testing.assert_array_equal(looks.table[:, c], counts)
        if len(members):
            assert looks.purities[c] == max(counts) / len(members)
    assert len(clusters.others) > 0 and looks.table.sum() == len(z) - len(clusters.others)
    classes, order = looks.orders
    assert sorted(classes) == list(range(10)) and sorted(order) == sorted(clusters.used)
    assert np.isnan(looks.purities[7])


def test_few_used_clusters_are_noticed(digits_findings):
    used = digits_findings.clusters
    assert digits_findings.evenly_used == pytest.approx(
        np.exp(-sum(s / 1437 * np.log(s / 1437) for s in used.sizes if s))
    )
    assert not digits_findings.few_used
    assert dataclasses.replace(digits_findings, num_clusters=100).few_used
    collapsed = dataclasses.replace(used, assignments=np.zeros(1437, np.int32))
    alone = dataclasses.replace(digits_findings, clusters=collapsed)
    assert alone.evenly_used == 1 and alone.few_used


def test_names_are_relative_and_numbers_have_the_digits_that_differ():
    assert names.shorten(["a/b/1.png", "a/b/c/2.png"]) == ("a/b/", ["1.png", "c/2.png"])
    assert names.shorten(["a/cat1.png", "a/cat2.png"]) == ("a/", ["cat1.png", "cat2.png"])
    assert names.shorten(["x/train#1", "x/train#12"]) == ("x/train", ["#1", "#12"])
    assert names.shorten(["1.png", "2.png"]) == ("", ["1.png", "2.png"])
    assert names.shorten(["a/1.png"]) == ("a/", ["1.png"])
    assert names.digits_that_differ([0.5, 0.25]) == ["0.50", "0.25"]
    assert names.digits_that_differ([0.99911, 0.99912, 0.5]) == ["0.99911", "0.99912", "0.50000"]
    assert names.digits_that_differ([0.5, 0.5]) == ["0.50", "0.50"]


def test_captions_keep_the_end_by_which_names_differ():
    assert names.caption("cats/short.jpg") == "short.jpg"
    assert names.caption("a" * 20) == "a" * 20
    long = [f"folder/chessboard_GRAY Aufnähme {i:02d}.jpg" for i in range(12)]
    captions = [names.caption(name) for name in long]
    assert captions[3] == "chessb\N{HORIZONTAL ELLIPSIS}fnähme 03.jpg"
    assert len(set(captions)) == 12


def test_originals_are_found_from_the_page(tmp_path):
    (tmp_path / "my photos").mkdir()
    (tmp_path / "my photos" / "1.png").write_bytes(b"")
    root, shorts = names.shorten([str(tmp_path / "my photos" / f"{i}.png") for i in (1, 2)])
    assert names.link_to(root, shorts, tmp_path / "out") == "../my%20photos/"
    assert names.link_to(root, ["3.png"], tmp_path / "out") is None
    assert names.link_to("digits/train", ["#1"], tmp_path) is None


def test_all_points_find_their_place_on_a_map_of_some(digits):
    h = pixels(digits.train)[:400]
    mapped = np.arange(0, 400, 2)
    xy = flat_map(h[mapped])
    places = place_all(h, mapped, xy)
    np.testing.assert_array_equal(places[mapped], xy)
    # The rest lie where others of their class do.
    labels = digits.train.labels[:400]
    rest = np.arange(1, 400, 2)
    distance = np.linalg.norm(places[rest][:, None] - xy[None], axis=-1)
    assert np.mean(labels[mapped][distance.argmin(axis=1)] == labels[rest]) > 0.8


def test_neighbours_are_those_of_a_full_sort(digits):
    h = digits.train.images.reshape(len(digits.train), -1).astype(np.float32)
    queries = find.choose_queries(len(h), digits.train.labels, queries=6, seed=3)
    assert len(set(digits.train.labels[queries])) == 6
    found, similarity = find.nearest_neighbours(h, queries, k=4)
    unit = normalize(h)
    for query, row, cosine in zip(queries, found, similarity, strict=True):
        others = [i for i in range(len(h)) if i != query]
        best = sorted(others, key=lambda i, q=query: -float(unit[i] @ unit[q]))[:4]
        np.testing.assert_allclose(cosine, unit[best] @ unit[query], rtol=1e-5)
        assert query not in row
    assert find.nearest_neighbours(h[:3], np.array([0]))[0].shape == (1, 2)


def test_similarities_are_those_of_every_pair(digits):
    z, clusters = pixels(digits.train)[:1200:4], digits.train.labels[:1200:4]
    found = pair_similarity(z, clusters)
    pairs = {True: [], False: []}
    for i in range(len(z)):
        for j in range(i):
            pairs[bool(clusters[i] == clusters[j])].append(float(np.clip(z[i] @ z[j], -1, 1)))
    for share, mean, values in (
        (found.within, found.mean_within, pairs[True]),
        (found.between, found.mean_between, pairs[False]),
    ):
        assert mean == pytest.approx(np.mean(values), abs=1e-5)
        expected = np.histogram(values, BINS)[0] / len(values)
        np.testing.assert_allclose(share, expected, atol=2 / len(values))
    assert found.mean_within > found.mean_between + 0.1
    alone = pair_similarity(z[:5], np.arange(5))
    assert np.isnan(alone.mean_within) and alone.within.sum() == 0


def test_the_map_is_a_function_of_the_seed_and_survives_a_collapse(digits):
    h, labels = pixels(digits.train)[:300], digits.train.labels[:300]
    xy = flat_map(h, seed=1)
    np.testing.assert_array_equal(xy, flat_map(h, seed=1))
    assert xy.shape == (300, 2) and xy.min() == 0 and xy.max() == 1
    distance = np.linalg.norm(xy[:, None] - xy[None], axis=-1) + 9 * np.eye(300)
    assert np.mean(labels[distance.argmin(axis=1)] == labels) > 0.9
    assert np.isfinite(flat_map(np.ones((20, 8), np.float32))).all()
    assert np.isfinite(flat_map(h[:2])).all()


def test_thumbnails_keep_to_their_area_and_come_in_order(digits):
    indices = np.array([[5, 2, 5], [9, 0, 1]])
    images = thumbnails.read(SplitPictures(digits.train), indices, pixels=10**6)
    np.testing.assert_array_equal(images, digits.train.images[indices])
    small = thumbnails.read(SplitPictures(digits.train), indices, pixels=6 * 100)
    assert small.shape == (2, 3, 10, 10, 3)
    whole = decoded(thumbnails.sheet(images[0], columns=2))
    assert whole.shape == (32, 32, 4)
    assert np.abs(whole[:16, 16:, :3].astype(int) - images[0, 1]).mean() < 12
    assert whole[16:, 16:, 3].max() == 0  # the place left over is clear


def decoded(uri):
    import base64
    import io

    data = base64.b64decode(uri.removeprefix("data:image/webp;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)))


# The page


def test_the_page_needs_nothing_from_outside_and_is_well_formed(built):
    parsed = Tags(built)
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in parsed.tags:
        for name in ("src", "href", "xlink:href", "action", "data", "poster"):
            target = attributes.get(name)
            if target and target.startswith("#"):
                assert target[1:] in ids
            else:
                assert target is None or target.startswith("data:"), (tag, name, target)
        if tag == "img":
            assert attributes["alt"]
        if tag == "svg":
            assert attributes["role"] == "img" and attributes["aria-label"]
        for name in ("aria-labelledby", "aria-describedby"):
            assert set(attributes.get(name, "").split()) <= set(ids)
    assert not re.search(r"url\((?!#|data:)|@import|<link rel=.stylesheet", built)
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert dict(parsed.tags)["html"] == {"lang": "en"}
    # The plots take their colours from the style sheet.
    svg = "".join(re.findall(r"<svg.*?</svg>", built, re.S))
    assert not any(colour in svg for colour in style.COLOURS.values())
    assert "<text" in svg


def test_text_has_enough_contrast_in_light_and_dark():
    sheet = (Path(page.__file__).parent / "templates" / "page.css").read_text()
    for block in re.findall(r":root \{(.*?)\}", sheet, re.S):
        colours = dict(re.findall(r"--(\w+): (#\w{6})", block))
        assert {"page", "card"} | style.COLOURS.keys() == colours.keys()
        for ground in ("page", "card"):
            for text in ("ink", "muted", "blue", "orange", "green"):
                assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)


def contrast(one, two):
    """The ratio of WCAG 2."""

    def luminance(colour):
        channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(
            channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
        )
        return linear @ (0.2126, 0.7152, 0.0722)

    darker, lighter = sorted((luminance(one), luminance(two)))
    return (lighter + 0.05) / (darker + 0.05)


def test_scores_stand_beside_their_baselines(digits_findings, digits):
    scores = {"knn_top1": 0.5, "random_knn_top1": 0.25, "raw_knn_top1": 0.375, "online_top1": None}
    scores |= {"centroid_nmi": 0.125, "num_clusters": 7, "num_classes": 7}
    scores |= {"protocol": "sgd", "dataset": "mnist"}
    evaluated = dataclasses.replace(digits_findings, scores=scores, evaluated=True)
    text = page.build(evaluated, {}, SplitPictures(digits.train))
    table = re.search(r"<table class=.scores.*?</table>", text, re.S)[0]
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in table.split("<tr>")[1:]]
    assert rows == [
        ["score", "this run", "random encoder", "raw pixels"],
        ["k-NN top-1, k = 20", "<strong>50.0</strong>", "25.0", "37.5"],
        ["NMI, own 7 centroids", "12.5", "\N{EN DASH}", "\N{EN DASH}"],
    ]
    assert "pipelines.evaluate" not in text
    assert "test split of mnist, %, linear by the sgd protocol." in table
    held_out = dataclasses.replace(evaluated, scores={**scores, "holdout": 0.1})
    text = page.build(held_out, {}, SplitPictures(digits.train))
    assert "On held-out images of mnist, %" in text and "test split of mnist" not in text
    summary = page.build(digits_findings, {}, SplitPictures(digits.train))
    assert "python -m pipelines.evaluate RUN" in summary and "linear top-1" in summary


def test_an_unfinished_run_is_shown_as_far_as_it_got(digits_findings, digits):
    similarity = {0: digits_findings.similarity[0]}
    early = dataclasses.replace(
        digits_findings,
        finished=False,
        metrics=digits_findings.metrics[:1],
        scores={},
        similarity=similarity,
    )
    figures = plots.draw(early)
    text = page.build(early, figures, SplitPictures(digits.train))
    assert "after 1 of 4 epochs" in text and "0 % of training" in text
    assert "50 % of training" not in text
    bare = dataclasses.replace(early, metrics=[], similarity={}, clusters=None)
    text = page.build(bare, plots.draw(bare), SplitPictures(digits.train))
    for said in ("No epoch has been finished yet", "no snapshot yet", "have not started yet"):
        assert said in text


# The command


def test_help_and_refusals_need_no_tensorflow(tmp_path):
    script = """
import sys
from pipelines import report
try:
    code = report.main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
assert not {"tensorflow", "keras", "sklearn", "matplotlib"} & set(sys.modules)
sys.exit(code)
"""
    command = [sys.executable, "-c", script]
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    for text in ("RUN/report/index.html", "--data-dir", "--images", "Exit codes"):
        assert text in shown.stdout
    refused = subprocess.run([*command, tmp_path], capture_output=True, text=True)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1 and "is not a run folder" in refused.stderr


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda run: shutil.rmtree(run / "checkpoints"), "has no checkpoint yet"),
        (lambda run: (run / "config.json").write_text("{"), "config.json cannot be read"),
        (lambda run: (run / "evaluation.json").write_text("[]"), "evaluation.json cannot be read"),
        (lambda run: (run / "report" / "index.html").unlink(), "exists and is no report"),
        (lambda run: (run / "snapshots" / "050.keras").write_text("x"), "050.keras cannot be read"),
        (
            lambda run: (run / "config.json").write_text(
                (run / "config.json").read_text().replace('"digits"', '"folder:gone"')
            ),
            "There is no folder gone",
        ),
    ],
)
def test_what_cannot_serve_gets_one_line_and_changes_nothing(
    digits_run, tmp_path, capsys, spoil, message
):
    run = tmp_path / "run"
    shutil.copytree(digits_run, run)
    (run / "report").mkdir()
    for name in ("index.html", "losses.png"):
        (run / "report" / name).write_text("an earlier report")
    spoil(run)
    before = contents(run)
    assert report.main([str(run)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and message in error
    assert contents(run) == before
    assert not list(run.glob(".report*"))


@pytest.mark.slow
def test_a_report_replaces_the_one_before_and_says_where_it_is(digits_run, built, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(digits_run, run)
    (run / "evaluation.json").write_text(json.dumps({"knn_top1": 0.5, "random_knn_top1": 0.25}))
    (run / ".report-partial").mkdir()  # as a killed process leaves it
    (run / "report").mkdir()
    for name in ("index.html", "old.png"):
        (run / "report" / name).write_text("an earlier report")
    command = [sys.executable, "-m", "pipelines.report", run]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"Report: {run / 'report' / 'index.html'} (" in done.stdout and "MB)" in done.stdout
    figures = "losses accuracy usage_entropy dead_clusters learning_rate key_momentum similarity"
    figures = {*figures.split(), "effective_rank", "silhouette", "map", "clusters", "classes"}
    expected = {"index.html", *(f"{name}.png" for name in figures)}
    assert {path.name for path in (run / "report").iterdir()} == expected
    assert not list(run.glob(".report*"))
    text = (run / "report" / "index.html").read_text()
    assert "<td>25.0</td>" in text
    assert str(tmp_path) not in text
    # The same run gives the same page, here in another process.
    data = [re.search(r'id="map-data">(.*?)</script>', each)[1] for each in (text, built)]
    one, two = map(json.loads, data)
    assert one["groups"] == two["groups"] and one["sprites"] == two["sprites"]
    np.testing.assert_allclose(one["x"], two["x"], atol=300)
    for name in figures:
        with Image.open(run / "report" / f"{name}.png") as image:
            shades = np.asarray(image.convert("L"))
        assert min(shades.shape) > 400 and shades.min() < 100 and shades.max() == 255


def test_a_run_without_labels_says_so(unlabelled):
    assert report.main([str(unlabelled), "--images", "30"]) == 0
    text = (unlabelled / "report" / "index.html").read_text()
    assert "have no labels" in text and "nothing to score against" in text
    assert "photos: 40 (40 .png); no labels" in text
    assert "Left out: 1 .nef (no image format that is read here)" in text
    images = json.loads((unlabelled / "summary.json").read_text())["images"]
    assert images["taken"] == 40 and images["left"][".nef"]["examples"] == ["phone.NEF"]
    assert "from 30 of 40 training images" in text
    for absent in ('id="classes"', "purity <b>", '<table class="scores">', ">label</option>"):
        assert absent not in text
    assert not (unlabelled / "report" / "classes.png").exists()
    assert len(re.findall(r'<div class="neighbours">', text)) == 10
    assert len(re.findall(r'<li id="cluster-', text)) == 4


def test_a_run_still_in_its_warm_up_says_so(unlabelled, tmp_path):
    """The same run as it stood before its clusters started."""
    from cueco_tf.running import checkpoints
    from cueco_tf.running.loading import load_run

    run = tmp_path / "run"
    shutil.copytree(unlabelled, run)
    gone = "summary.json", "metrics.csv", "clusters.npz"
    for name in (*gone, "snapshots/050.keras", "snapshots/100.keras"):
        (run / name).unlink()
    model = load_run(run).model
    model.clusters.usage.assign(np.zeros(4, np.float32))
    checkpoints.save(run / "checkpoints", model)
    assert report.main([str(run)]) == 0
    text = (run / "report" / "index.html").read_text()
    assert "not finished" in text and "clusters have not started yet" in text
    assert 'id="cards"' not in text and 'id="map-group"' not in text
    assert not (run / "report" / "clusters.png").exists()


def test_images_without_a_class_are_shown_as_such(digits_findings, digits):
    labels = np.where(np.arange(len(digits.train)) % 5 == 0, -1, digits.train.labels)
    findings = dataclasses.replace(digits_findings, labels=labels)
    sizes = findings.clusters.sizes
    assert findings.table.sum() == np.sum(labels >= 0) < len(labels) == sizes.sum()
    assert (findings.purities[findings.clusters.used] <= 1).all()
    assert (labels[find.choose_queries(len(labels), labels)] >= 0).all()
    title, names, members, colours = next(plots.map_groups(findings))
    assert title == "label" and names[-1] == "no label" and len(colours) == len(names) == 11
    np.testing.assert_array_equal(members == 10, labels[findings.mapped] == -1)
    assert "no label" in page.build(findings, plots.draw(findings), SplitPictures(digits.train))
