"""From a file of embeddings to clusters as files: no TensorFlow, one line for what cannot be."""

import csv
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import embedded_digits
import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet
from scipy.cluster.hierarchy import cut_tree

from cueco_tf.clustering import limits
from cueco_tf.clustering.head import fit_head
from cueco_tf.clustering.rule import read_rule
from cueco_tf.embedding.embeddings_file import read_file
from cueco_tf.evaluation import clustering_scores, normalize
from pipelines import clusters, search


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with embedded digits and their ten clusters, sorted into folders too."""
    folder = tmp_path_factory.mktemp("clusters")
    file = embedded_digits.make(folder)
    options = ["--count", 10, "--output", folder / "ten", "--copy-to", folder / "sorted"]
    assert run(file, *options, "--with-embeddings") == 0
    return folder


def run(*arguments):
    return clusters.main([str(argument) for argument in arguments])


def table(folder):
    with open(folder / "clusters.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def column(rows, name, kind=int):
    return np.array([kind(row[name]) for row in rows])


def test_a_file_of_embeddings_needs_no_tensorflow(tmp_path):
    file = embedded_digits.make(tmp_path, 60)
    script = """
import sys
from pipelines import clusters, duplicates, search
file = sys.argv[1]
codes = [
    clusters.main([file, "--count", "5"]),
    clusters.main([file, "--output", file + "-auto", "--other"]),
    duplicates.main([file, file]),
    search.main([file, "--row", "3"]),
]
assert codes == [0, 0, 0, 0], codes
assert not {"tensorflow", "keras", "torch"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script, file], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "5 clusters, as asked for" in done.stdout
    assert "six resamples agree" in done.stdout
    names = {"clusters.csv", "clusters.json", "index.html", "map.png", "points.parquet"}
    assert {p.name for p in (tmp_path / "photos-clusters").iterdir()} == names
    auto = tmp_path / "photos.npz-auto"
    assert {p.name for p in auto.iterdir()} == names | {"counts.png"}
    found = json.loads((auto / "clusters.json").read_text())
    assert found["chosen"] == "auto" and found["auto"]["verdict"] in ("sure", "fair", "unsure")
    assert found["count"] in found["auto"]["counts"]
    assert "How many clusters" in (auto / "index.html").read_text()


def test_the_table_says_of_each_image_where_it_is(made):
    rows = table(made / "ten")
    content, _ = read_file(made / "photos.npz")
    assert [row["path"] for row in rows] == content["paths"].tolist()
    x = normalize(content["embeddings"])
    own = column(rows, "cluster")
    sizes = np.bincount(own)
    assert len(sizes) == 10 and (np.diff(sizes) <= 0).all()  # numbered by size
    middles = normalize(np.stack([x[own == c].mean(axis=0) for c in range(10)]))
    cosine = x @ middles.T
    rest = np.where(np.arange(10) == own[:, None], -np.inf, cosine)
    similarity = column(rows, "similarity", float)
    np.testing.assert_allclose(similarity, cosine[np.arange(300), own], atol=2e-6)
    np.testing.assert_allclose(
        1 - rest.max(axis=1), column(rows, "next_distance", float), atol=2e-6
    )
    np.testing.assert_array_equal(column(rows, "next_cluster"), rest.argmax(axis=1))
    for c in range(10):
        order = np.argsort(column(rows, "rank")[own == c])
        assert (np.diff(similarity[own == c][order]) <= 1e-6).all()
    labels = [row["path"].split("/")[-2] for row in rows]
    assert clustering_scores(labels, own)["acc"] > 0.6


def test_the_tree_gives_every_other_cut(made, tmp_path):
    found = json.loads((made / "ten" / "clusters.json").read_text())
    rows = table(made / "ten")
    own, leaf = column(rows, "cluster"), column(rows, "leaf")
    assert [each["size"] for each in found["clusters"]] == np.bincount(own).tolist()
    for each in found["clusters"]:
        first = next(r for r in rows if int(r["cluster"]) == each["cluster"] and r["rank"] == "1")
        assert each["medoid"] == first["path"]
        assert set(each["leaves"]) >= set(leaf[own == each["cluster"]])
        assert sum(child["size"] for child in each["children"]) in (0, each["size"])
    # The same file and seed with another count: a cut of the same tree.
    assert run(made / "photos.npz", "--count", 4, "--output", tmp_path / "four") == 0
    four = column(table(tmp_path / "four"), "cluster")
    assert all(len(set(four[own == c])) == 1 for c in range(10))
    peer = cut_tree(np.array(found["merges"]), 4)[:, 0][leaf]
    assert clustering_scores(peer, four)["ari"] == 1


def test_parts_are_sorted_as_their_file_and_any_number_in_one_pass(made, tmp_path, capsys):
    parts = embedded_digits.write_parts(tmp_path / "parts", made / "photos.npz")
    assert run(parts, "--count", 10, "--output", tmp_path / "ten") == 0
    assert table(tmp_path / "ten") == table(made / "ten")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "MANY", 299)
        assert run(parts, "--count", 7, "--output", tmp_path / "many", "--other", 0.4) == 0
    assert "7 clusters by k-means, as asked for" in capsys.readouterr().out
    content, _ = read_file(made / "photos.npz")
    columns = parquet.read_table(tmp_path / "many" / "clusters.parquet").to_pydict()
    assert columns["path"] == content["paths"].tolist()
    own, similarity = np.array(columns["cluster"]), np.array(columns["similarity"])
    rule = read_rule(tmp_path / "many" / "rule.npz")
    clusters, cosines = rule(content["embeddings"])
    np.testing.assert_array_equal(own, np.where(cosines < 0.4, -1, clusters))
    np.testing.assert_allclose(similarity, cosines, atol=1e-6)
    found = json.loads((tmp_path / "many" / "clusters.json").read_text())
    sizes = np.bincount(own[own >= 0], minlength=7).tolist()
    assert [each["size"] for each in found["clusters"]] == sizes
    assert found["other"] == (own < 0).sum() > 0 and found["method"] == "kmeans"
    assert found["images"] == found["sample"] == 300 and len(found["merges"]) == 6
    for each in found["clusters"]:
        nearest = np.where(own == each["cluster"], similarity, -1).argmax()
        assert each["medoid"] == columns["path"][nearest]
    page = (tmp_path / "many" / "index.html").read_text()
    assert "300 images were sorted" in page and "clusters.parquet" in page
    points = parquet.read_table(tmp_path / "many" / "points.parquet")
    assert points["cluster"].to_pylist() == own.tolist()
    # The clusters that search takes in place of the encoder's own.
    options = "--cluster", 3, "--clusters", tmp_path / "many", "--sheet", tmp_path / "a.png"
    assert search.main([str(each) for each in (parts, *options)]) == 0
    lines = capsys.readouterr().out.splitlines()[-13:-2]
    middle = normalize(content["embeddings"])[own == 3].mean(axis=0)
    best = np.argsort(-(normalize(content["embeddings"]) @ middle), kind="stable")[:10]
    assert [line.split()[-1] for line in lines[1:]] == content["paths"][best].tolist()
    assert [int(line.split()[2]) for line in lines[1:]] == own[best].tolist()


def test_what_k_means_cannot_give_is_refused_in_one_line(made, tmp_path, capsys):
    options = "--method", "kmeans", "--output", tmp_path / "out"
    assert run(made / "photos.npz", *options, "--copy-to", tmp_path / "copies") == 2
    assert "--copy-to and --link-to are for --method tree and head" in capsys.readouterr().err
    assert run(made / "photos.npz", *options, "--count", 301) == 2
    assert "at most the number of images, 300. Received: 301" in capsys.readouterr().err
    parts = embedded_digits.write_parts(tmp_path / "parts", made / "photos.npz")
    (parts / "part-00001-of-00003.parquet").unlink()
    assert run(parts, *options) == 2
    assert "lacks 1 of 3 parts: 1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_head_sorts_in_place_of_the_tree_and_its_clusters_are_merged(made, tmp_path, capsys):
    out = tmp_path / "head"
    assert run(made / "photos.npz", "--count", 10, "--method", "head", "--output", out) == 0
    found, rows = json.loads((out / "clusters.json").read_text()), table(out)
    assert found["method"] == "head"
    assert json.loads((made / "ten" / "clusters.json").read_text())["method"] == "tree"
    own, leaf = column(rows, "cluster"), column(rows, "leaf")
    x = read_file(made / "photos.npz")[0]["embeddings"]
    peer, _ = fit_head(x, 10, 0)(x)
    assert clustering_scores(peer, own)["ari"] == 1
    assert [each["size"] for each in found["clusters"]] == np.bincount(own).tolist()
    assert [each["leaves"] for each in found["clusters"]] == [
        [leaf[own == c][0]] for c in range(10)
    ]
    three = cut_tree(np.array(found["merges"]), 3)[:, 0][leaf]
    assert len(set(three)) == 3 and all(len(set(three[own == c])) == 1 for c in range(10))
    assert "10 clusters by a clustering head, as asked for" in capsys.readouterr().out
    assert "by a clustering head" in (out / "index.html").read_text()


def test_a_head_that_leaves_clusters_empty_says_so(tmp_path, capsys):
    x = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
    names = [f"{i}.png" for i in range(30)]
    pair = embedded_digits.write(tmp_path / "pair.npz", names, x[np.arange(30) % 2])
    assert run(pair, "--count", 3, "--method", "head", "--output", tmp_path / "out") == 0
    assert "2 clusters by a clustering head (of 3; the others hold no" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "clusters.json").read_text())["count"] == 2


def test_points_open_as_a_table_with_embeddings_on_demand(made, tmp_path):
    points = parquet.read_table(made / "ten" / "points.parquet")
    names = ["path", "x", "y", "cluster", "similarity", "embedding"]
    assert points.column_names == names
    rows = table(made / "ten")
    assert points["path"].to_pylist() == [row["path"] for row in rows]
    np.testing.assert_array_equal(points["cluster"].to_numpy(), column(rows, "cluster"))
    xy = np.stack([points["x"].to_numpy(), points["y"].to_numpy()], axis=1)
    assert xy.min() >= 0 and xy.max() <= 1 and len(np.unique(xy, axis=0)) == 300
    embeddings = np.array(points["embedding"].to_pylist(), np.float32)
    with np.load(made / "photos.npz") as file:
        np.testing.assert_allclose(embeddings, normalize(file["embeddings"]), atol=1e-6)


def test_the_images_are_in_a_folder_a_cluster(made, tmp_path):
    rows = table(made / "ten")
    found = sorted((made / "sorted").rglob("*.png"))
    assert len(found) == 300
    by_name = {path.name: path for path in found}
    for row in rows[::20]:
        copy = by_name[row["path"].split("/")[-1]]
        assert copy.parent.name == row["cluster"]
        assert copy.read_bytes() == Path(row["path"]).read_bytes() and not copy.is_symlink()
    links = tmp_path / "links"
    options = ["--count", 12, "--other", "0.5", "--link-to", links, "--output", tmp_path / "out"]
    assert run(made / "photos.npz", *options) == 0
    other = [row for row in table(tmp_path / "out") if row["cluster"] == "-1"]
    assert len(list((links / "other").iterdir())) == len(other) > 0
    assert all(float(row["similarity"]) < 0.5 for row in other)
    assert {path.name for path in links.iterdir()} == {"other", *(f"{c:02d}" for c in range(12))}
    link = next((links / "03").iterdir())
    assert link.is_symlink() and Image.open(link).size == (16, 16)


def test_rows_of_an_array_are_sorted_into_folders_too(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), np.uint8)
    np.save(tmp_path / "images.npy", images)
    x = normalize(images.reshape(30, -1) - 127.5)
    file = tmp_path / "images.npz"
    embedded_digits.write(file, [f"{tmp_path / 'images.npy'}#{i}" for i in range(30)], x)
    options = ["--count", 3, "--copy-to", tmp_path / "sorted", "--output", tmp_path / "out"]
    assert run(file, *options) == 0
    copies = sorted((tmp_path / "sorted").rglob("*.png"))
    assert len(copies) == 30
    for copy in copies:
        np.testing.assert_array_equal(np.asarray(Image.open(copy)), images[int(copy.stem)])


def test_the_same_source_and_seed_give_the_same_files(made, tmp_path):
    command = [sys.executable, "-m", "pipelines.clusters", made / "photos.npz", "--count", "10"]
    done = subprocess.run(
        [*command, "--output", tmp_path / "again"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for name in ("clusters.csv", "clusters.json"):
        assert (tmp_path / "again" / name).read_bytes() == (made / "ten" / name).read_bytes()


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_earlier_folder_is_replaced_only_when_told_to_and_only_if_it_is_one(tmp_path):
    output, file = tmp_path / "out", embedded_digits.make(tmp_path, 40)
    assert run(file, "--count", 3, "--output", output) == 0
    before = contents(output)
    assert run(file, "--count", 4, "--output", output) == 2
    assert contents(output) == before
    assert run(file, "--count", 4, "--output", output, "--overwrite") == 0
    assert json.loads((output / "clusters.json").read_text())["count"] == 4
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    assert run(file, "--count", 4, "--output", tmp_path / "mine", "--overwrite") == 2
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_without_pyarrow_all_is_there_but_the_points(made, tmp_path, capsys, monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "pyarrow" else there(name)
    )
    command = made / "photos.npz", "--count", 3, "--output", tmp_path / "out"
    assert run(*command, "--with-embeddings") == 2
    assert "--with-embeddings, in points.parquet, needs pyarrow" in capsys.readouterr().err
    assert run(*command) == 0
    assert "points.parquet is left out: it needs pyarrow" in capsys.readouterr().out
    names = {"clusters.csv", "clusters.json", "index.html", "map.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names


def test_what_cannot_be_gets_one_line_and_leaves_nothing(made, tmp_path, capsys):
    photos, rng = made / "photos.npz", np.random.default_rng(0)
    write = embedded_digits.write
    x = rng.normal(size=(30, 8)).astype(np.float32)
    names = [f"{i}.png" for i in range(30)]
    alike = write(tmp_path / "alike.npz", names, np.ones((30, 8), np.float32))
    one = write(tmp_path / "one.npz", names[:1], x[:1])
    few = write(tmp_path / "few.npz", names[:7], x[:7])
    pair = write(tmp_path / "pair.npz", names, x[np.arange(30) % 2])
    gone = write(tmp_path / "gone.npz", names, x)
    nan = write(tmp_path / "nan.npz", names, np.full((30, 8), np.nan, np.float32))
    flat = write(tmp_path / "flat.npz", names, x[:, 0])
    np.savez(tmp_path / "features.npz", train_x=x)
    (tmp_path / "text.npz").write_text("no")
    (tmp_path / "folder").mkdir()
    files = sorted(tmp_path.iterdir())
    for arguments, message in (
        ((photos, "--count", 301), "--count should be at most the number of images, 300"),
        ((photos, "--count", 0), "--count should be a number of at least 1, or auto. Received: 0"),
        ((photos, "--count", "ten"), "Received: ten"),
        ((photos, "--count", 1, "--method", "head"), "--method head needs a --count of at least 2"),
        ((photos, "--other", "2"), "--other should be a similarity in [-1, 1]"),
        ((photos, "--seed", "-1"), "--seed should be in [0, 2**32 - 1]. Received: -1"),
        ((photos, "--output", tmp_path / "folder", "--overwrite"), "is no folder of clusters. Ch"),
        ((photos, "--output", tmp_path / "no" / "out"), "There is no folder"),
        ((photos, "--copy-to", tmp_path / "folder"), "exists. Choose a new folder for --copy-to"),
        ((gone, "--count", 3, "--copy-to", tmp_path / "new"), "cannot be put into a folder"),
        ((alike,), "have the same embedding"),
        ((one, "--count", 1), "holds one image"),
        ((few,), "--count auto needs at least 20 images"),
        ((pair, "--count", 3), "at most 2, as many as there are different embeddings"),
        ((nan,), "not all finite"),
        ((flat,), "its embeddings are float32 of shape (30,)"),
        ((tmp_path / "features.npz",), "is not a file of embeddings"),
        ((tmp_path / "text.npz",), "is not a file of embeddings"),
        ((tmp_path / "nowhere.npz",), "There is no"),
        ((tmp_path / "folder",), "is not a run folder"),
    ):
        output = [] if "--output" in arguments else ["--output", tmp_path / "out"]
        assert run(*arguments, *output) == 2, arguments
        printed = capsys.readouterr().err.strip().splitlines()
        assert len(printed) == 1 and message in printed[0], printed
    assert sorted(tmp_path.iterdir()) == files


@pytest.mark.slow
def test_a_run_is_a_source_too(digits_run, tmp_path, capsys):
    assert run(digits_run, "--count", 10, "--output", tmp_path / "out") == 0
    rows = table(tmp_path / "out")
    assert [row["path"] for row in rows[:2]] == ["digits/train#0", "digits/train#1"]
    assert len(rows) == 1437
    capsys.readouterr()
    for arguments, message in (
        (["--copy-to", tmp_path / "x"], "Only images that are files"),
        (["--count", 1438], "at most the number of images, 1,437. Received: 1,438"),
    ):
        assert run(digits_run, *arguments, "--output", tmp_path / "y") == 2
        said = capsys.readouterr()
        assert message in said.err and not said.out  # before anything is embedded
    assert not (tmp_path / "y").exists()
