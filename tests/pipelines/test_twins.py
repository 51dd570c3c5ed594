"""Commands as functions of Python: the same names, defaults and results."""

import concurrent.futures
import html
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cueco_tf
from cueco_tf.embedding.embeddings_file import read_file
from cueco_tf.export.reading import ExportError
from cueco_tf.running.run_folder import RunError
from cueco_tf.settings.fields import ConfigError
from pipelines import clusters, evaluate, export, report, reproduce, search
from pipelines.command import UsageError, options_of
from pipelines.embedding.options import build_parser
from pipelines.reproducing.study import StudyError
from pipelines.results.page import Page


@pytest.fixture(scope="module")
def run(digits_run, tmp_path_factory):
    """A copy, for they write into it."""
    return shutil.copytree(digits_run, tmp_path_factory.mktemp("twins") / "digits")


def test_a_run_is_scored_looked_at_and_exported(run, digits_export, tmp_path):
    loaded = cueco_tf.load_run(run)
    scores = loaded.evaluate(no_baselines=True)
    assert scores == json.loads((run / "evaluation.json").read_text())
    assert "raw_knn_top1" not in scores and scores["seed"] == 0
    page = loaded.report(images=300)
    assert page == run / "report" / "index.html" and "300" in page.read_text()
    folder = loaded.export(tmp_path / "exported")
    assert (folder / "encoder.onnx").read_bytes() == (digits_export / "encoder.onnx").read_bytes()
    assert loaded.path == run


def test_a_run_is_trained_from_python_and_goes_on(tmp_path, capsys):
    options = dict(encoder="resnet10", width=4, epochs=2, queue_size=64, clusters=4)
    run = cueco_tf.pretrain("digits", run_dir=tmp_path / "run", log=(), **options)
    assert not any((run.path / "logs").iterdir())  # nobody hears of the epochs
    assert run.summary is not None and len(run.metrics) == 2 and run.config.epochs == 2
    assert run.path == tmp_path / "run" and run.clusters.directions.shape[0] == 4
    again = cueco_tf.pretrain(run_dir=run.path, resume=True)
    assert again.summary == run.summary
    with pytest.raises(RunError, match="exists and is not empty"):
        cueco_tf.pretrain("digits", run_dir=run.path)
    with pytest.raises(TypeError, match="no option cluster"):
        cueco_tf.pretrain("digits", run_dir=tmp_path / "other", cluster=4)
    with pytest.raises(ConfigError, match="--epochs should be"):
        cueco_tf.pretrain("digits", run_dir=tmp_path / "other", epochs=0)
    with pytest.raises(RunError, match="--dataset is required"):
        cueco_tf.pretrain()
    assert not (tmp_path / "other").exists()


def test_features_are_scored(tmp_path):
    rng = np.random.default_rng(0)
    parts = {f"{part}_x": rng.normal(size=(40, 4)) for part in ("train", "test")}
    labels = {f"{part}_y": np.arange(40) % 2 for part in ("train", "test")}
    np.savez(tmp_path / "f.npz", **parts, **labels)
    options = dict(embeddings=tmp_path / "f.npz", output=tmp_path / "scores.json", seed=3)
    scores = evaluate.evaluate(**options)
    assert scores["seed"] == 3 and scores["test_samples"] == 40
    assert scores == json.loads((tmp_path / "scores.json").read_text())


def test_what_cannot_be_is_raised_in_the_commands_words(run, tmp_path):
    with pytest.raises(RunError, match="is not a run folder"):
        report.report(tmp_path)
    with pytest.raises(UsageError, match="--images should be in"):
        report.report(run, images=1)
    with pytest.raises(evaluate.EvaluationError, match="either a RUN folder or --embeddings"):
        evaluate.evaluate()
    with pytest.raises(UsageError, match=r"--shard should be I/N, .* Received: \(0, 2\)"):
        cueco_tf.embed("e", "s", output=tmp_path / "parts", shard=(0, 2))
    with pytest.raises(StudyError, match="cannot be read"):
        cueco_tf.reproduce("study", grid=str(tmp_path / "grid.json"))
    for seed in (-1, 2**32):
        with pytest.raises(UsageError, match=r"--seed should be in \[0, 2\*\*32 - 1\]"):
            evaluate.evaluate(run, seed=seed)
    (tmp_path / "taken").write_text("")
    with pytest.raises(ExportError, match="exists"):
        export.export(run, output=tmp_path / "taken")


def test_an_option_that_there_is_not_is_named():
    with pytest.raises(TypeError, match=r"no option 'no_baseline'. Did you mean no_baselines\?"):
        options_of(evaluate.build_parser(), no_baseline=True)
    with pytest.raises(ValueError, match="`protocol` should be one of fast, sgd"):
        options_of(evaluate.build_parser(), protocol="slow")


def test_images_are_embedded_sorted_searched_and_compared(
    run, digits_export, digits, tmp_path, monkeypatch, capsys
):
    """From a thread, in another working folder, as in a notebook."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for i, image in enumerate(digits.test.images[:60]):
        Image.fromarray(image).save(tmp_path / "photos" / f"{i:02d}.png")
    shutil.copy(tmp_path / "photos" / "07.png", tmp_path / "photos" / "again.png")
    (tmp_path / "photos" / "broken.png").write_bytes(b"\x89PNG")
    loaded = cueco_tf.load_run(run)
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        embedded = thread.submit(loaded.embed, "photos", export=digits_export).result()
        sorted_ = thread.submit(cueco_tf.clusters, embedded.path, count=3).result()
    assert embedded.path == Path("photos.npz") and len(embedded) == 61
    columns, _ = read_file("photos.npz")
    for name in ("paths", "embeddings", "clusters", "similarities"):
        np.testing.assert_array_equal(getattr(embedded, name), columns[name])
    assert [Path(name).name for name, _ in embedded.skipped] == ["broken.png"]

    assert sorted_.path == Path("photos-clusters") and sorted_.about["images"] == 61
    assert list(sorted_.paths) == list(embedded.paths) and set(sorted_.clusters) == {0, 1, 2}
    assert html.escape(sorted_.page.read_text()) in sorted_._repr_html_()
    again = cueco_tf.clusters(embedded.path, count=3, overwrite=True, other=True)
    assert "other" in str(again.about)

    found = cueco_tf.search("photos.npz", tmp_path / "photos" / "07.png", top=3)
    assert Path(found.matches[0].path).name in ("07.png", "again.png")
    assert found.matches[0].similarity > 0.9999 and len(found) == 3
    shown = found._repr_png_()
    assert shown == Path("photos-nearest.png").read_bytes()
    cueco_tf.search("photos.npz", row=9, top=3)  # which draws there too
    assert found._repr_png_() == shown != Path("photos-nearest.png").read_bytes()
    assert embedded.paths[found.matches[1].row] == found.matches[1].path

    twice = cueco_tf.duplicates(embedded.path, embedded.path)
    assert ["07.png", "again.png"] in [[Path(n).name for n in group] for group in twice.groups]
    assert len(twice.leaks) == 61 and isinstance(twice.outliers, list)
    assert clusters.main(["photos.npz", "--count", "3", "--overwrite"]) == 0
    assert "Next: python -m pipelines.search photos.npz --cluster 0" in capsys.readouterr().out


def test_an_export_of_another_run_is_not_taken_for_the_runs_own(run, digits_export, tmp_path):
    assert export.export_of(run, digits_export) == digits_export
    other = shutil.copytree(digits_export, tmp_path / "other")
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["run"]["encoder"] = "0" * 64
    (other / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ExportError, match="is not of the encoder in"):
        cueco_tf.load_run(run).embed("digits", export=other)


def test_a_run_is_exported_with_its_data_where_they_are(run, tmp_path):
    copied = shutil.copytree(run, tmp_path / "run")
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"dataset": "cifar100"}))
    with pytest.raises(ValueError, match=f"{tmp_path / 'sets'}"):
        cueco_tf.load_run(copied).embed(
            "digits", export=tmp_path / "export", data_dir=tmp_path / "sets"
        )


def test_values_are_read_as_on_the_command_line(tmp_path):
    parser = search.build_parser()
    options = options_of(parser, file="f.npz", row=np.int64(3), export=tmp_path)
    assert options.file == Path("f.npz") and options.export == str(tmp_path) and options.top == 10
    for given, message in (
        (dict(row=1.5), "`row` should be a whole number. Received: 1.5"),
        (dict(row=1, top="ten"), "`top` should be a whole number. Received: 'ten'"),
        (dict(row=1, sheet=3), "`sheet` should be a path. Received: 3"),
    ):
        with pytest.raises(ValueError, match=message):
            options_of(parser, file="f.npz", **given)
    for given, count in (({}, 0), (dict(row=1, cluster=2), 2)):
        with pytest.raises(TypeError, match=f"One of image, row, cluster .* Received: {count}"):
            options_of(parser, file="f.npz", **given)
    reading = options_of(build_parser(), export="e", source="s", pixel_range=(0, 4095))
    assert reading.pixel_range == [0.0, 4095.0]
    table = options_of(reproduce.build_parser().command("table1"), scale="cpu", seeds=0)
    assert table.seeds == [0]
    table = options_of(reproduce.build_parser().command("table1"), scale="cpu", methods="byol")
    assert table.methods == ["byol"]


def test_a_page_too_large_for_a_notebook_is_named(tmp_path):
    page = Page(tmp_path / "a<b.html")
    page.write_text("<p>" + "x" * 8_000_000)
    assert page.parent._repr_html_() is None
    assert page._repr_html_() == f"{tmp_path}/a&lt;b.html (8 MB): open it in a browser"
