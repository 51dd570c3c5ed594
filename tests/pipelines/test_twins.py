"""Commands as functions of Python: the same names, defaults and results."""

import json
import shutil

import numpy as np
import pytest

import cueco_tf
from cueco_tf.export.reading import ExportError
from cueco_tf.running.run_folder import RunError
from cueco_tf.settings.fields import ConfigError
from pipelines import evaluate, export, report
from pipelines.command import UsageError, options_of


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
    run = cueco_tf.pretrain("digits", run_dir=tmp_path / "run", **options)
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
    (tmp_path / "taken").write_text("")
    with pytest.raises(ExportError, match="exists"):
        export.export(run, output=tmp_path / "taken")


def test_an_option_that_there_is_not_is_named():
    with pytest.raises(TypeError, match=r"no option 'no_baseline'. Did you mean no_baselines\?"):
        options_of(evaluate.build_parser(), no_baseline=True)
    with pytest.raises(ValueError, match="`protocol` should be one of fast, sgd"):
        options_of(evaluate.build_parser(), protocol="slow")
