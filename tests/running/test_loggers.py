"""`--log`: who hears of each epoch beside the run folder."""

import importlib.util
import json

import pytest

import cueco_tf
from cueco_tf import train
from cueco_tf.running.run_folder import RunError

TINY = dict(encoder="resnet10", width=4, image_size=8, epochs=2, queue_size=64, clusters=4)


def test_a_logger_that_is_not_there_is_named_before_anything_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    folder = ["--run-dir", str(tmp_path / "run")]
    assert train.main(["--dataset", "digits", "--log", "tensorboard", "wandb", *folder]) == 2
    err = capsys.readouterr().err
    assert "--log tensorboard needs tensorboard, which is not installed: pip install" in err
    with pytest.raises(RunError, match="should be some of tensorboard, wandb, mlflow"):
        cueco_tf.pretrain("digits", run_dir=tmp_path / "run", log="x")
    with pytest.raises(SystemExit):
        train.main(["--dataset", "digits", "--log", "tensorbord", *folder])
    assert "invalid choice: 'tensorbord'" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif(not importlib.util.find_spec("wandb"), reason="needs wandb")
def test_weights_and_biases_hears_of_each_epoch(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = cueco_tf.pretrain("digits", run_dir=tmp_path / "run", log=["wandb"], **TINY)
    called = json.loads((run.path / "logs" / "loggers.json").read_text())["wandb"]
    (file,) = (run.path / "logs" / "wandb").glob(f"offline-run-*-{called}/run-{called}.wandb")
    content = file.read_bytes()
    for wanted in (b"epoch/loss", b"epoch/effective_rank", b"queue_size"):
        assert wanted in content


@pytest.mark.skipif(not importlib.util.find_spec("mlflow"), reason="needs mlflow")
def test_mlflow_hears_of_each_epoch_and_a_resumed_run_goes_on(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    folder = tmp_path / "run"
    stopped = Stop()
    cueco_tf.pretrain("digits", run_dir=folder, log=["mlflow"], stop=stopped, **TINY)
    run = cueco_tf.pretrain(run_dir=folder, resume=True, log=["mlflow"])
    called = json.loads((folder / "logs" / "loggers.json").read_text())["mlflow"]
    there = mlflow.get_run(called)
    assert there.info.run_name == "run" and there.data.params["queue_size"] == "64"
    losses = mlflow.MlflowClient().get_metric_history(called, "loss")
    assert [each.step for each in losses] == [0, 1]
    assert losses[1].value == pytest.approx(run.metrics[1]["loss"])
    assert mlflow.active_run() is None


class Stop:
    """An event that is set once the first epoch is under way."""

    def __init__(self):
        self.asked = 0

    def is_set(self):
        self.asked += 1
        return self.asked > 8
