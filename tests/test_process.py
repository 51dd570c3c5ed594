"""A command borrows what belongs to the process, and ends in a line whenever Ctrl-C comes."""

import contextlib
import importlib
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import keras
import matplotlib
import numpy as np
import pytest
import tensorflow as tf

from cueco_tf import process, train
from pipelines import clusters, duplicates, embed, evaluate, export, report, search

TINY = [
    *("--dataset", "digits", "--width", "8", "--batch-size", "256", "--queue-size", "300"),
    *("--image-size", "8", "--encoder", "resnet10"),
]
LOGGERS = (None, "tensorflow", "absl", "tf2onnx", "keras", "urllib3", "matplotlib", "PIL")


def state():
    """What commands must leave as it is."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    return {
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "handlers": [signal.getsignal(number) for number in range(1, signal.NSIG)],
        "loggers": [(logger.level, list(logger.handlers)) for logger in loggers],
        "filters": list(warnings.filters),
        "warnings": (warnings.showwarning, warnings.formatwarning),
        "random": random.getstate(),
        "numpy": [part.tolist() if isinstance(part, np.ndarray) else part for part in np_state()],
        "policy": keras.config.dtype_policy().name,
        "floatx": keras.config.floatx(),
        "tf32": tf.config.experimental.tensor_float_32_execution_enabled(),
        "tensorflow seed": tf.compat.v1.get_default_graph().seed,
        "matplotlib": (dict(matplotlib.rcParams), matplotlib.rcParams._get("backend")),
        "streams": (sys.stdout.errors, sys.stderr.errors, sys.excepthook, sys.argv),
        "umask": umask(),
    }


def np_state():
    return np.random.get_state()


def umask():
    former = os.umask(0)
    os.umask(former)
    return former


def assert_same(before):
    after = state()
    changed = {name: (before[name], after[name]) for name in before if before[name] != after[name]}
    if "environment" in changed:
        changed["environment"] = set.symmetric_difference(
            *(set(environment.items()) for environment in changed["environment"])
        )
    assert not changed


def in_thread(function):
    """What a function returns or raises in a thread of its own."""
    found = []

    def run():
        try:
            found.append(function())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, found


@pytest.mark.slow
def test_training_in_a_thread_is_stopped_by_an_event_and_goes_on_in_the_main_thread(tmp_path):
    folder, stop = tmp_path / "run", threading.Event()
    arguments = [*TINY, "--epochs", "40", "--run-dir", str(folder)]
    before = state()
    thread, found = in_thread(lambda: train.main(arguments, stop=stop))
    while not list(folder.glob("checkpoints/step-*")):
        assert thread.is_alive(), found
        time.sleep(0.01)
    stop.set()
    thread.join()
    assert found == [143]
    assert_same(before)
    assert not (folder / "summary.json").exists() and not (folder / ".lock").exists()

    rows = (folder / "metrics.csv").read_text().splitlines()
    again = threading.Event()
    again.set()
    assert train.main(["--resume", "--run-dir", str(folder)], stop=again) == 143
    assert_same(before)
    assert (folder / "metrics.csv").read_text().splitlines()[: len(rows)] == rows


@pytest.mark.slow
def test_every_command_leaves_the_process_as_it_was(digits_run, digits_export, tmp_path, digits):
    np.save(tmp_path / "images.npy", digits.test.images[:8])
    out = tmp_path / "o.npz"
    commands = [
        (embed, [digits_export, tmp_path / "images.npy", "--output", out], 0),
        (search, [out, f"{tmp_path / 'images.npy'}#0"], 0),
        (clusters, [out, "--count", 3], 0),
        (duplicates, [out], 0),
        (evaluate, [digits_run, "--no-baselines", "--output", tmp_path / "scores.json"], 0),
        (export, [digits_run, "--output", tmp_path / "new"], 0),
        (report, [tmp_path / "none"], 2),
        (embed, [tmp_path / "none", tmp_path, "--output", tmp_path / "x.npz"], 2),
        (train, ["--run-dir", tmp_path / "none", "--resume"], 2),
    ]
    for library in (
        "matplotlib.figure",
        "onnxruntime.quantization",
        "tensorflow_datasets",
        "tf2onnx",
    ):
        importlib.import_module(library)  # what their first import leaves is not ours
    for module, arguments, code in commands:
        before = state()
        assert module.main([str(argument) for argument in arguments]) == code, module
        assert_same(before)


def test_of_two_commands_at_once_the_last_gives_back(tmp_path):
    begun, may_end = threading.Barrier(3, timeout=60), [threading.Event(), threading.Event()]

    @process.command
    def main(number):
        begun.wait()
        may_end[number].wait()
        return number

    before = state()
    runs = [in_thread(lambda number=number: main(number)) for number in range(2)]
    begun.wait()
    for (thread, found), event in zip(runs, may_end, strict=True):
        during = state()
        assert during["warnings"] != before["warnings"]
        event.set()
        thread.join()
        assert found
    assert_same(before)


def test_warnings_are_sentences_and_the_environment_has_the_last_word(monkeypatch):
    @process.command
    def main():
        text = warnings.formatwarning("The disk is nearly full.", UserWarning, "file.py", 3, "code")
        return os.environ["TF_CPP_MIN_LOG_LEVEL"], text

    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    assert main() == ("2", "warning: The disk is nearly full.\n")
    assert "TF_CPP_MIN_LOG_LEVEL" not in os.environ
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    assert main()[0] == os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"


def test_a_failure_is_one_line_on_stderr(capsys):
    assert process.fail(ValueError("no such thing\nand its trace")) == 2
    assert process.fail("stopped.", 130) == 130
    captured = capsys.readouterr()
    assert captured.err == "error: no such thing\nerror: stopped.\n" and captured.out == ""


def test_a_missing_tensorflow_is_said_in_a_line_and_another_module_is_a_bug(capsys):
    @process.command
    def main(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    assert main("tensorflow.python") == 2
    assert "pip install" in capsys.readouterr().err
    with pytest.raises(ModuleNotFoundError):
        main("cueco_tf.nothing")


def test_signals_are_handled_in_the_main_thread_and_given_back():
    came = []

    def handle(number, frame):
        came.append(number)

    before = signal.getsignal(signal.SIGTERM)
    with process.handling(handle, signal.SIGTERM):
        os.kill(os.getpid(), signal.SIGTERM)
    assert came == [signal.SIGTERM] and signal.getsignal(signal.SIGTERM) is before

    def elsewhere():
        with process.handling(handle, signal.SIGTERM):
            return signal.getsignal(signal.SIGTERM) is before

    thread, found = in_thread(elsewhere)
    thread.join()
    assert found == [True]


def test_notes_of_libraries_are_held_back_and_nothing_else(capfd):
    with process._notes_held_back():
        os.write(2, b"E0000 00:00:1795720145.616525     437 cuda_platform.cc:52] failed call\n")
        os.write(2, b"I0000 00:00:1795720145.616525     437 port.cc:153] oneDNN custom\n")
        os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called\n")
        os.write(2, b"E0000 00:00:1795720145.616525     437 reader.cc:1] the disk is broken\nlast")
    assert capfd.readouterr().err == (
        "E0000 00:00:1795720145.616525     437 reader.cc:1] the disk is broken\nlast"
    )


MOMENTS = {"the package is imported": "_multiarray_umath", "TensorFlow is": "libtensorflow"}


@pytest.mark.parametrize("library", MOMENTS.values(), ids=MOMENTS)
@pytest.mark.parametrize("module", ["cueco_tf.train", "pipelines.evaluate"])
def test_ctrl_c_in_the_first_seconds_is_a_line(module, library, digits_run, tmp_path):
    arguments = {
        "cueco_tf.train": [*TINY, "--run-dir", str(tmp_path / "run")],
        "pipelines.evaluate": [str(digits_run), "--output", str(tmp_path / "scores.json")],
    }[module]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, **pipes) as running:
        maps = Path(f"/proc/{running.pid}/maps")
        if not maps.exists():
            pytest.skip("what a process has loaded is read from /proc")
        loaded = ""
        with contextlib.suppress(OSError):
            while library not in loaded:
                loaded = maps.read_text()
        running.send_signal(signal.SIGINT)
        _, err = running.communicate()
    assert running.returncode == 130, err
    assert err.startswith("error: stopped") and len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_no_command_writes_notes_to_stderr(digits_run, tmp_path):
    """In an environment that says nothing of it."""
    quiet = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    command = ["pipelines.export", str(digits_run), "--output", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, env=quiet
    )
    lines = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    assert done.returncode == 0 and lines == [], done.stderr
