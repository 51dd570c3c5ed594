"""The command line as its users run it: in processes of its own."""

import json
import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

import cueco_tf
from cueco_tf.running import checkpoints
from cueco_tf.running.run_folder import RunError, RunFolder, columns
from cueco_tf.settings.run import RunConfig

TINY = [
    *("--dataset", "digits", "--width", "8", "--batch-size", "256", "--queue-size", "300"),
    *("--epochs", "6", "--image-size", "8"),
]


def start(*arguments, **options):
    command = [sys.executable, "-m", "cueco_tf.train", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def run(*arguments, **options):
    process = start(*arguments, **options)
    out, err = process.communicate()
    return process.returncode, out, err


def rows(path):
    """metrics.csv without the one column that is a time."""
    lines = [line.split(",") for line in (path / "metrics.csv").read_text().splitlines()]
    return [cells[:11] + cells[12:] for cells in lines]


def assert_same_state(one, two):
    """The newest checkpoints are equal to the last bit."""
    files = [np.load(checkpoints.find(path / "checkpoints")[0]) for path in (one, two)]
    assert files[0].files == files[1].files
    for name in files[0].files:
        np.testing.assert_array_equal(files[0][name], files[1][name], err_msg=name)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An undisturbed run, and what it printed."""
    path = tmp_path_factory.mktemp("runs") / "undisturbed"
    code, out, err = run(*TINY, "--run-dir", path)
    assert code == 0, err
    return path, out


def test_help_and_refusals_need_no_tensorflow(tmp_path):
    script = """
import sys
from cueco_tf import train
try:
    code = train.main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
assert "tensorflow" not in sys.modules and "keras" not in sys.modules
sys.exit(code)
"""
    command = [sys.executable, "-c", script]
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True)
    assert shown.returncode == 0
    options = (
        "--dataset --data-dir --encoder --width --epochs --batch-size --learning-rate --clusters "
        "--queue-size --temperature --loss-weights --warmup-epochs --precision --jit --seed "
        "--run-dir --resume"
    )
    for option in options.split():
        assert option in shown.stdout
    bad = ["--dataset", "digits", "--epochs", "0"]
    refused = subprocess.run([*command, *bad], capture_output=True, text=True)
    assert refused.returncode == 2


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("--dataset digits --temperature 0", "--temperature should be positive. Received: 0.0"),
        ("--dataset digits --batch-size 0", "--batch-size should be at least 1. Received: 0"),
        ("--dataset digits --epochs -1", "--epochs should be at least 1. Received: -1"),
        (
            "--dataset digits --clusters 1",
            "--clusters should be in [2, queue_size=1024]. Received: 1",
        ),
        (
            "--dataset digits --clusters 90 --queue-size 80",
            "--clusters should be in [2, queue_size=80]. Received: 90",
        ),
        ("--dataset digits --encoder vgg", "--encoder should be one of resnet10"),
        ("--dataset cifar", "--dataset should be one of digits"),
        ("--dataset digits --loss-weights 0 0 0", "--loss-weights should be three numbers"),
        ("--dataset digits --crop-scale 0 1", "--crop-scale should be (least, most)"),
        ("--dataset digits --warmup-epochs 101", "--warmup-epochs should be in [0, epochs=100]"),
        ("--run-dir nowhere --resume", "nowhere holds no run to go on with"),
        ("", "--dataset is required"),
        ("--dataset digits --method nosuch", "--method should be one of cueco, "),
        ("--dataset digits --nosuch 3", "unrecognized arguments: --nosuch 3"),
    ],
)
def test_wrong_values_exit_with_one_line(arguments, message, tmp_path, capsys, monkeypatch):
    from cueco_tf import train

    monkeypatch.chdir(tmp_path)
    try:
        code = train.main(arguments.split())
    except SystemExit as stop:  # argparse's own errors
        code = stop.code
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 2 and message in error
    assert list(tmp_path.iterdir()) == []


def test_a_missing_data_set_leaves_nothing_behind(tmp_path):
    environment = {**os.environ, "TFDS_DATA_DIR": str(tmp_path / "sets"), "TFDS_OFFLINE": "1"}
    code, _, err = run(
        "--dataset", "tfds:no_such_set", "--run-dir", tmp_path / "run", env=environment
    )
    last = err.strip().splitlines()[-1]
    assert code == 2 and last.startswith("error: The data set tfds:no_such_set is not in")
    assert str(tmp_path / "sets") in last and not (tmp_path / "run").exists()


def test_a_run_leaves_all_that_it_promises(finished, digits):
    path, out = finished
    for text in (
        "batch_size             256",
        "parameters",
        "Estimated time",
        "epoch    6",
        "raw pixels",
    ):
        assert text in out
    metrics = rows(path)
    names = columns(cueco_tf.load_run(path).config)
    header = ",".join(names)
    assert (path / "metrics.csv").read_text().startswith(header + "\n")
    assert [row[0] for row in metrics[1:]] == [str(epoch) for epoch in range(1, 7)]
    assert all(np.isfinite(float(cell)) for row in metrics[1:] for cell in row if cell)
    assert all(row[names.index("knn_top1") - 1] for row in metrics[1:])
    assert list((path / "logs").rglob("events*"))

    summary = json.loads((path / "summary.json").read_text())
    assert summary.keys() >= {"knn_top1", "linear_top1", "nmi", "acc", "ari", "online_top1"}
    assert 0.3 < summary["knn_top1"] <= 1 and 0.1 < summary["nmi"] <= 1

    encoder = cueco_tf.load_encoder(path)
    images = digits.test.images[:, ::2, ::2]
    assert encoder.predict(images, verbose=0).shape == (360, 64)
    loaded = cueco_tf.load_run(path)
    assert loaded.config.settings.clusters == 10 and len(loaded.metrics) == 6
    np.testing.assert_allclose(
        loaded.model.encoder.predict(images, verbose=0),
        encoder.predict(images, verbose=0),
        atol=1e-4,
    )
    assert set(loaded.model.assign(images)) <= set(range(10))
    features = []
    for percent in (0, 50, 100):
        snapshot = keras.models.load_model(path / "snapshots" / f"{percent:03d}.keras")
        outputs = snapshot.predict(images[:32], verbose=0)
        np.testing.assert_allclose(np.linalg.norm(outputs["projection"], axis=1), 1, rtol=1e-5)
        features.append(outputs["embedding"])
    np.testing.assert_allclose(features[2], encoder.predict(images[:32], verbose=0), atol=1e-5)
    assert np.abs(features[0] - features[1]).max() > 1e-3
    assert np.abs(features[1] - features[2]).max() > 1e-3


def test_plain_keras_opens_the_encoder(finished, tmp_path):
    path, _ = finished
    script = f"""
import sys, keras, numpy as np
network = keras.models.load_model({str(path / "encoder.keras")!r}, safe_mode=True)
assert network(np.zeros((2, 8, 8, 3), "uint8")).shape == (2, 64)
assert "cueco_tf" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_a_stopped_run_saves_in_the_middle_of_an_epoch_and_says_how_to_go_on(finished, tmp_path):
    undisturbed, _ = finished
    path = tmp_path / "stopped"
    for number, name in ((signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "SIGINT")):
        process = start("--run-dir", path, *(["--resume"] if path.exists() else TINY))
        seen = len(rows_or_none(path))
        wait_for(process, lambda seen=seen: len(rows_or_none(path)) > seen)
        process.send_signal(number)
        out, err = process.communicate()
        assert process.returncode == 128 + number, err
        assert f"Stopped by {name}" in out and f"--run-dir {path} --resume" in out
    code, _, err = run("--run-dir", path, "--resume")
    assert code == 0, err
    assert_same_state(path, undisturbed)
    assert rows(path) == rows(undisturbed)


def rows_or_none(path):
    try:
        return rows(path)
    except OSError:
        return []


def wait_for(process, ready):
    deadline = time.monotonic() + 240
    while not ready():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_finished_run_is_not_trained_again(finished):
    path, _ = finished
    before = (path / "metrics.csv").read_bytes()
    code, out, _ = run("--run-dir", path, "--resume")
    assert code == 0 and "is finished" in out
    assert (path / "metrics.csv").read_bytes() == before


def test_an_existing_run_is_refused_and_so_is_another_configuration(finished, capsys):
    from cueco_tf import train

    path, _ = finished
    assert train.main([*TINY, "--run-dir", str(path)]) == 2
    assert "exists and is not empty" in capsys.readouterr().err
    other = ["--run-dir", str(path), "--resume", "--temperature", "0.5", "--clusters", "12"]
    assert train.main(other) == 2
    error = capsys.readouterr().err
    assert "temperature: the run has 0.2, received 0.5" in error
    assert "clusters: the run has 10, received 12" in error


def test_folders_that_are_no_runs_are_refused(tmp_path):
    with pytest.raises(RunError, match="is not a run folder"):
        cueco_tf.load_run(tmp_path)
    folder = RunFolder(tmp_path / "run")
    folder.create(RunConfig.for_dataset("digits", width=8).resolve(1437, 8, 10).on_devices(0))
    with pytest.raises(RunError, match="has no checkpoint yet"):
        cueco_tf.load_run(folder.path)
    with pytest.raises(RunError, match="is not finished"):
        cueco_tf.load_encoder(folder.path)
    folder.config.write_text("{broken")
    with pytest.raises(RunError, match=r"config\.json cannot be read"):
        cueco_tf.load_run(folder.path)


def test_an_unlabelled_folder_trains_without_scores(tmp_path, cifar):
    from PIL import Image

    photos = tmp_path / os.fsdecode(b"photos \xff")  # a name that is not valid text
    photos.mkdir()
    for i in range(40):
        Image.fromarray(cifar.train.images[i]).save(photos / f"{i}.png")
    path = tmp_path / "run"
    code, out, err = run(
        *("--dataset", f"folder:{photos}", "--run-dir", path, "--encoder", "resnet10"),
        *("--width", "8", "--epochs", "2", "--batch-size", "64", "--clusters", "3"),
    )
    assert code == 0, err
    assert "warning: --batch-size 64 is more than the training images" in err
    assert "No scores: the images have no labels." in out
    assert f"Next: python -m pipelines.report {path}" in out
    summary = json.loads((path / "summary.json").read_text())
    assert summary["knn_top1"] is None and summary["nmi"] is None
    assert cueco_tf.load_encoder(path).predict(cifar.train.images[:2], verbose=0).shape == (2, 64)


@pytest.mark.slow
def test_too_few_labelled_images_to_score_are_no_failure(tmp_path, cifar):
    from PIL import Image

    for i in range(24):
        (tmp_path / "photos" / f"class {i // 3}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(cifar.train.images[i]).save(tmp_path / "photos" / f"class {i // 3}/{i}.png")
    path = tmp_path / "run"
    code, out, err = run(
        *("--dataset", f"folder:{tmp_path / 'photos'}", "--run-dir", path, "--encoder", "resnet10"),
        *("--width", "8", "--epochs", "1", "--batch-size", "8", "--clusters", "3"),
    )
    assert code == 0, err
    assert "5 test samples, fewer than the 8 classes" in out
    assert json.loads((path / "summary.json").read_text())["knn_top1"] is None
