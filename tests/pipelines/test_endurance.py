"""A run that is killed, or whose disk is full or read-only, ends as an undisturbed one."""

import contextlib
import ctypes
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cueco_tf import load_run
from cueco_tf.running import checkpoints
from cueco_tf.running.run_folder import RunFolder
from pipelines import endurance
from pipelines.enduring import soak
from pipelines.enduring.chaos import compare
from pipelines.enduring.life import locate

PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1  # of linux/prctl.h and linux/capability.h


@pytest.fixture(scope="module")
def chaos(tmp_path_factory):
    """What `pipelines.endurance chaos` found with three kills, and its folder."""
    folder = tmp_path_factory.mktemp("chaos")
    options = ["--kills", "3", "--epochs", "12", "--output", str(folder / "result.json")]
    code = endurance.main(["chaos", *options, "--folder", str(folder / "runs")])
    return code, json.loads((folder / "result.json").read_text()), folder / "runs"


@pytest.mark.slow
def test_kills_in_a_step_a_checkpoint_and_an_evaluation_change_nothing(chaos):
    code, result, folder = chaos
    assert code == 0, result
    # On a busy machine the write of a checkpoint may pass between two looks.
    phases = [kill["phase"] for kill in result["kills"]]
    assert phases and len(set(phases)) == len(phases), phases
    assert set(phases) <= {"step", "checkpoint", "evaluation"}
    assert result["identical"] and result["differing"] == [] and result["arrays"] > 100
    assert result["epochs"] == list(range(1, 13))
    assert not list(folder.rglob(".partial-*"))


def test_a_single_bit_makes_two_runs_differ(chaos, tmp_path):
    _, _, folder = chaos
    calm, other = RunFolder(folder / "undisturbed"), RunFolder(tmp_path)
    (path,) = checkpoints.find(calm.checkpoints)[:1]
    arrays = dict(np.load(path))
    arrays["weight/0001"].reshape(-1).view(np.uint8)[0] ^= 1
    other.checkpoints.mkdir()
    np.savez(other.checkpoints / path.name, **arrays)
    other.metrics.write_bytes(calm.metrics.read_bytes())
    other.config.write_bytes(calm.config.read_bytes())
    other.summary.write_bytes(calm.summary.read_bytes())
    found = compare(calm, other)
    assert found["differing"] == ["weight/0001"] and not found["identical"]


def test_a_stack_tells_the_phase():
    """Frames of the functions themselves: one that moves takes its frame along."""
    import inspect

    import keras

    from cueco_tf import storage
    from cueco_tf.methods.cueco import CueCo
    from cueco_tf.running import training

    def frames(*functions):
        codes = [inspect.unwrap(function).__code__ for function in functions]
        return [(Path(code.co_filename), 1, code.co_name) for code in codes]

    fit = frames(keras.Model.fit, training._fit)
    write = frames(storage.write_atomically, checkpoints._write)
    assert locate(fit)[0] == "step"
    assert locate(frames(CueCo.train_step) + fit)[0] == "start-up"
    assert locate(write + fit) == ("checkpoint", "storage:1 write_atomically")
    assert locate(write[:1] + fit)[0] == "another file"
    assert locate(frames(keras.Model.predict) + fit)[0] == "evaluation"
    assert locate([]) == ("start-up", "")


def train(path, **options):
    command = [sys.executable, "-m", "cueco_tf.train", "--run-dir", str(path), "--resume"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


@contextlib.contextmanager
def small_disk(path, megabytes):
    """Mounts one at the path, or yields False where mounting is not allowed."""
    path.mkdir()
    size = f"size={megabytes}m"
    mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", path]
    mounted = subprocess.run(mount, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", path], check=True)


def obey_permissions():
    """Makes root obey them like anyone else."""
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE)


@pytest.mark.slow
def test_a_full_disk_and_a_read_only_one_cost_no_checkpoint(chaos, tmp_path):
    calm = RunFolder(chaos[2] / "undisturbed")
    with small_disk(tmp_path / "disk", 15) as mounted:
        folder = RunFolder(tmp_path / "disk" / "run")
        folder.create(calm.read_config())
        process = train(folder.path)
        while not mounted and not checkpoints.find(folder.checkpoints):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.001)
        if not mounted:  # from the first checkpoint on, no file may be as large as another
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        _, error = process.communicate()
        line = b"No space left on device" if mounted else b"File too large"
        assert process.returncode == 1 and b"Traceback" not in error, error
        assert error.splitlines()[-2].startswith(b"error: ") and line in error.splitlines()[-2]
        assert b"The last good checkpoint stands" in error.splitlines()[-1]
        assert not list(folder.path.rglob(".partial-*"))
        good = {path: path.read_bytes() for path in checkpoints.find(folder.checkpoints)}
        assert 1 <= len(good) <= 2

        if mounted:
            subprocess.run(["mount", "-o", "remount,size=100m", folder.path.parent], check=True)
        parts = [folder.path, *(path for path in folder.path.rglob("*"))]
        for part in parts:
            part.chmod(0o555 if part.is_dir() else 0o444)
        process = train(folder.path, preexec_fn=obey_permissions)
        _, error = process.communicate()
        assert process.returncode == 2 and b"Traceback" not in error, error  # before any work
        assert b"Permission denied" in error.splitlines()[-1], error
        assert good == {path: path.read_bytes() for path in checkpoints.find(folder.checkpoints)}

        for part in parts:
            part.chmod(0o755 if part.is_dir() else 0o644)
        process = train(folder.path)
        _, error = process.communicate()
        assert process.returncode == 0, error
        assert compare(calm, folder)["identical"]


@pytest.mark.slow
def test_a_short_soak_traces_nothing_anew(tmp_path):
    result = soak.soak(tmp_path / "run", 450)
    assert [step for step, _ in result["samples"]] == list(range(45, 451, 45))
    assert len(load_run(tmp_path / "run").metrics) == 10  # a run like any other
    assert result["traces"]["after two epochs"] == result["traces"]["at the end"]
    # A last batch of another size has its own trace of the prediction.
    assert result["traces"]["at the end"] == {"training step": 1, "prediction": 2}


def test_the_slope_is_that_of_the_second_half():
    early = [(step, 500.0 + step) for step in range(0, 100, 10)]
    late = [(step, 700.0 + 0.25 * step) for step in range(100, 200, 10)]
    assert soak.slope(early + late) == pytest.approx(0.25)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("chaos --kills 0", "--kills should be at least 1. Received: 0"),
        ("chaos --epochs 3", "--epochs should be at least 7. Received: 3"),
        ("soak --steps 0", "--steps should be at least 1. Received: 0"),
        ("soak --folder .", "is not empty. Choose another --folder"),
        ("chaos --output nowhere/a.json", "There is no folder nowhere"),
    ],
)
def test_wrong_values_are_refused(arguments, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    try:
        code = endurance.main(arguments.split())
    except SystemExit as stop:
        code = stop.code
    assert code == 2 and message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
