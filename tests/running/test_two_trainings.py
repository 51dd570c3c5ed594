"""Trainings at work in one run folder: one owns it, and who comes meanwhile waits or is refused."""

import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from cueco_tf.running import checkpoints
from cueco_tf.running.run_folder import RunFolder

OPTIONS = [
    *("--dataset", "digits", "--image-size", "8", "--width", "8", "--encoder", "resnet10"),
    *("--batch-size", "64", "--queue-size", "300", "--epochs", "14"),
]


def start(folder, *arguments):
    command = [sys.executable, "-m", "cueco_tf.train", *arguments, "--run-dir", str(folder.path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_checkpoint(process, folder):
    while not checkpoints.find(folder.checkpoints):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)


@pytest.mark.slow
def test_a_run_in_work_refuses_a_second_and_a_requeued_one_takes_over(tmp_path):
    folder = RunFolder(tmp_path / "run")
    first = start(folder, *OPTIONS)
    wait_for_checkpoint(first, folder)

    second = start(folder, "--resume")
    _, err = second.communicate()
    who = f"process {first.pid} on {socket.gethostname()}"
    assert second.returncode == 2
    assert err == (
        f"error: {folder.path} is in use: {who} works on it. Wait for its end, or stop it first.\n"
    )
    assert first.poll() is None

    first.send_signal(signal.SIGTERM)  # as before a job is requeued: it saves while the next comes
    third = start(folder, "--resume")
    out, err = third.communicate()
    assert first.wait() == 143 and third.returncode == 0, (first.stderr.read(), err)
    assert "Traceback" not in err
    stopped_at = int(first.stdout.read().partition("the state at step ")[2].partition(" ")[0])
    assert f"from step {stopped_at}\n" in out

    config = folder.read_config()
    rows = folder.read_metrics(config)
    assert [row["epoch"] for row in rows] == list(range(1, 15))
    last = checkpoints.find(folder.checkpoints)[0]
    assert last.stem == f"step-{14 * config.steps_per_epoch:09d}"
    with np.load(last, allow_pickle=False) as file:
        assert all(np.isfinite(file[name]).all() for name in file.files if "weight" in name)
    assert not list(tmp_path.rglob(".partial-*")) and not list(tmp_path.rglob("*.lock"))
