"""What a run meets while it trains: NaN, lost images, changed data. Recovery, or one clear line."""

import dataclasses
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cueco_tf import data
from cueco_tf.data.splits import DataError
from cueco_tf.methods.building import build_model
from cueco_tf.running import checkpoints
from cueco_tf.running.recording import Monitor, RunRecorder
from cueco_tf.running.run_folder import RunError, RunFolder
from cueco_tf.settings.run import RunConfig

PER_EPOCH = 3


@pytest.fixture
def config():
    small = dict(width=8, batch_size=64, queue_size=64, image_size=8, epochs=3, warmup_epochs=1)
    return RunConfig.for_dataset("digits", **small).resolve(3 * 64, 8, 10).on_devices(0)


def fit(model, folder, config, images, poisoned=None):
    """Trains to the end; the first view of the poisoned step has a NaN in one pixel."""
    step = int(model.step.numpy())

    def poison(number, batch):
        (first, second), labels = batch
        bad = tf.where(number == poisoned, np.nan, tf.zeros_like(first[:1, :1, :1, :1]))
        return (
            first + tf.pad(bad, [[0, tf.shape(first)[0] - 1], [0, 7], [0, 7], [0, 2]]),
            second,
        ), labels

    split = images.train.take(np.arange(config.train_images))
    batches = split.training_batches(config.batch_size, model.augment, config.seed, step)
    if poisoned is not None:
        batches = batches.enumerate(step).map(poison)
    recorder = RunRecorder(folder, config, lambda: False)
    model.fit(
        batches,
        initial_epoch=step // PER_EPOCH,
        epochs=config.epochs,
        steps_per_epoch=PER_EPOCH,
        callbacks=[recorder],
        verbose=0,
    )


def test_a_nan_in_a_batch_stops_the_run_and_spoils_no_checkpoint(config, tmp_path):
    digits = data.load("digits", image_size=8)
    folder = RunFolder(tmp_path / "run")
    folder.create(config)
    model = build_model(config)
    with pytest.raises(FloatingPointError, match=r"no longer finite at step [56]"):
        fit(model, folder, config, digits, poisoned=4)
    assert [path.name for path in checkpoints.find(folder.checkpoints)] == ["step-000000003.npz"]
    assert [row["epoch"] for row in folder.read_metrics(config)] == [1]

    assert checkpoints.restore(folder.checkpoints, model) is not None
    assert int(model.step.numpy()) == 3
    fit(model, folder, config, digits)
    assert all(np.isfinite(weight.numpy()).all() for weight in model.weights)
    assert [row["epoch"] for row in folder.read_metrics(config)] == [1, 2, 3]


@pytest.mark.parametrize("factor", [1e25, np.inf])  # squares beyond float32; no numbers at all
def test_features_beyond_float32_stop_the_run_in_words(config, factor):
    digits, model = data.load("digits", image_size=8), build_model(config)
    monitor = Monitor(digits.train.take(np.arange(64)), digits.test, every=1, epochs=1)
    monitor.set_model(model)
    monitor.on_train_begin()
    monitor.on_epoch_end(0, logs := {})
    assert 0 < logs["knn_top1"] <= 1
    (*_, scale) = (weight for weight in model.encoder.weights if weight.path.endswith("gamma"))
    scale.assign(scale * factor)
    with pytest.raises(FloatingPointError, match=r"features are .* no longer finite at step 0"):
        monitor.on_epoch_end(0, {})


@pytest.fixture
def photos(tmp_path, cifar):
    """Two classes of thirty real images."""
    for i in range(60):
        (tmp_path / "photos" / str(i % 2)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(cifar.train.images[i]).save(tmp_path / "photos" / f"{i % 2}" / f"{i}.png")
    return tmp_path / "photos"


def test_a_changed_data_set_is_refused(photos):
    name = f"folder:{photos}"
    images = data.load(name)
    old = RunConfig(name).resolve(len(images.train), 32, 2)  # of before there were fingerprints
    resolved = dataclasses.replace(old, fingerprint=images.train.fingerprint())
    assert len(data.load_for(resolved).train) == len(images.train)
    elsewhere = photos.rename(photos.with_name("moved"))
    moved = dataclasses.replace(resolved, dataset=f"folder:{elsewhere}")
    assert len(data.load_for(moved).train) == len(images.train)
    path = images.train.paths[0].replace("/photos/", "/moved/")
    Image.new("RGB", (32, 32)).save(path)
    with pytest.raises(DataError, match=r"has changed since .* other files or labels"):
        data.load_for(moved)
    assert data.load_for(dataclasses.replace(old, dataset=moved.dataset))
    Path(path).unlink()
    with pytest.raises(DataError, match=r"has changed since .* 48 training images and 2 classes"):
        data.load_for(moved)


def train(*arguments):
    command = [sys.executable, "-m", "cueco_tf.train", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_an_image_that_goes_while_training_is_named_and_can_come_back(photos, tmp_path):
    """Batches do without it, as `test_data` shows; the monitor must not."""
    lost = Path(data.load(f"folder:{photos}").train.paths[3])
    content = lost.read_bytes()
    folder = RunFolder(tmp_path / "run")
    process = train(
        *("--dataset", f"folder:{photos}", "--encoder", "resnet10", "--width", 8, "--epochs", 8),
        *("--batch-size", 12, "--queue-size", 24, "--run-dir", folder.path, "--cache", "none"),
    )
    while not checkpoints.find(folder.checkpoints):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    lost.unlink()
    _, error = process.communicate()
    assert process.returncode == 1 and "Traceback" not in error, error
    line, advice = error.splitlines()[-2:]
    assert line.startswith(f"error: Cannot read {lost}: FileNotFoundError")
    assert "The last good checkpoint stands" in advice
    good = {path: path.read_bytes() for path in checkpoints.find(folder.checkpoints)}

    process = train("--run-dir", folder.path, "--resume")
    _, error = process.communicate()
    assert process.returncode == 2, error
    assert "has changed since the run was trained" in error.splitlines()[-1]
    assert good == {path: path.read_bytes() for path in checkpoints.find(folder.checkpoints)}

    lost.write_bytes(content)
    process = train("--run-dir", folder.path, "--resume")
    _, error = process.communicate()
    assert process.returncode == 0, error
    assert [row["epoch"] for row in folder.read_metrics(folder.read_config())] == list(range(1, 9))


def test_metrics_whose_epochs_do_not_rise_are_refused(config, tmp_path):
    folder = RunFolder(tmp_path)
    for epochs in ([1, 1], [2, 1], [1, 2, 2]):
        folder.write_metrics([{"epoch": epoch} for epoch in epochs], config)
        with pytest.raises(RunError, match="its epochs should rise"):
            folder.read_metrics(config)
    folder.metrics.write_bytes(folder.metrics.read_bytes() + b"\xff")
    with pytest.raises(RunError, match=r"metrics\.csv cannot be read"):
        folder.read_metrics(config)


def test_a_run_that_was_killed_at_its_creation_starts_anew(config, tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    (folder.path / ".partial-config.json").write_text('{"dataset": "di')
    folder.check_unused()
    folder.create(config)
    assert folder.read_config() == config
    assert {path.name for path in folder.path.iterdir()} == {
        "config.json",
        "checkpoints",
        "snapshots",
    }
