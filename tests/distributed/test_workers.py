"""Several devices and several real processes do what one does; and survive the loss of one."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cueco_tf.running import checkpoints

SCRIPT = Path(__file__).with_name("worker_script.py")
TINY = [
    *("--encoder", "resnet10", "--width", "8", "--batch-size", "256", "--queue-size", "300"),
    *("--epochs", "8", "--image-size", "8", "--clusters", "10", "--sync-batchnorm"),
]


def environments(count):
    """An environment for each of some workers on this machine."""
    if count == 1:
        return [dict(os.environ)]
    with_port = []
    for _ in range(count):
        listener = socket.create_server(("127.0.0.1", 0))
        with_port.append((listener, f"127.0.0.1:{listener.getsockname()[1]}"))
    for listener, _ in with_port:
        listener.close()
    cluster = {"worker": [address for _, address in with_port]}
    configs = ({"cluster": cluster, "task": {"type": "worker", "index": i}} for i in range(count))
    return [{**os.environ, "TF_CONFIG": json.dumps(config)} for config in configs]


def start(command, environment):
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(processes):
    outputs = [process.communicate()[0] for process in processes]
    codes = [process.returncode for process in processes]
    return codes, outputs


def trajectory(folder, processes, devices):
    """What each of the processes came to."""
    path = folder / f"{processes}-{devices}"
    several = "several" if processes > 1 else "alone"
    command = [SCRIPT, devices, several, path]
    codes, outputs = finish([start(command, each) for each in environments(processes)])
    assert codes == [0] * processes, outputs
    return [np.load(f"{path}-{i}.npz") for i in range(processes)]


@pytest.mark.slow
def test_devices_and_processes_follow_one_device(tmp_path):
    (one,) = trajectory(tmp_path, 1, 1)
    assert one["log/usage_entropy"][-1] > 0  # the clusters have started
    for processes, devices in ((1, 4), (2, 1), (3, 1)):
        results = trajectory(tmp_path, processes, devices)
        for name in one.files:
            case = f"{processes} processes, {devices} devices: {name}"
            np.testing.assert_allclose(
                results[0][name], one[name], rtol=2e-3, atol=2e-4, err_msg=case
            )
            for other in results[1:]:
                np.testing.assert_array_equal(other[name], results[0][name], err_msg=case)


@pytest.fixture
def unlabelled(digits, tmp_path_factory):
    """The digits as a set without labels, which is scored on the digits."""
    path = tmp_path_factory.mktemp("digits") / "digits.npy"
    np.save(path, np.uint8(digits.train.images))
    return ["--dataset", f"array:{path}", "--eval-dataset", "digits"]


def train(tmp_path, name, *more, chief_last=False):
    """Two workers of a run; each names a folder of its own, and only the chief may make its."""
    folders = (tmp_path / name, tmp_path / f"{name}-worker1")
    workers = list(zip(folders, environments(2), strict=True))
    pair = [
        start(["-m", "cueco_tf.train", *TINY, "--run-dir", folder, *more], environment)
        for folder, environment in (reversed(workers) if chief_last else workers)
    ]
    return pair[::-1] if chief_last else pair


def wait_for_checkpoint(folder, pair):
    """Returns once there is a checkpoint that was not there before."""
    before = checkpoints.find(folder)[:1]
    while checkpoints.find(folder)[:1] == before:
        assert all(process.poll() is None for process in pair), finish(pair)
        time.sleep(0.1)


@pytest.mark.slow
def test_a_stopped_and_a_killed_worker_cost_nothing_but_time(tmp_path, unlabelled):
    # The chief comes up last.
    codes, outputs = finish(train(tmp_path, "undisturbed", *unlabelled, chief_last=True))
    assert codes == [0, 0], outputs
    assert "Run folder" in outputs[0] and "Run folder" not in outputs[1]

    # One worker is told to stop, as the manager of a cluster does: all save and stop together.
    saved = tmp_path / "disturbed" / "checkpoints"
    pair = train(tmp_path, "disturbed", *unlabelled)
    wait_for_checkpoint(saved, pair)
    pair[1].send_signal(signal.SIGTERM)
    codes, outputs = finish(pair)
    assert codes == [143, 143] and "Starting it again" not in "".join(outputs), outputs
    assert "Stopped by SIGTERM; the state at step" in outputs[0], outputs
    assert "from step 0" in outputs[0]
    assert not (tmp_path / "disturbed" / "summary.json").exists()

    # One worker is killed: all start again by themselves.
    pair = train(tmp_path, "disturbed", *unlabelled, "--resume")
    wait_for_checkpoint(saved, pair)
    os.kill(child_of(pair[1].pid), signal.SIGKILL)
    codes, outputs = finish(pair)
    assert codes == [0, 0], outputs
    assert "was killed by SIGKILL" in outputs[1] and "Worker 0 failed" in outputs[0], outputs
    assert "from step 0" not in outputs[0] and outputs[0].count(" training images, ") == 2

    ends = [
        np.load(checkpoints.find(tmp_path / name / "checkpoints")[0])
        for name in ("undisturbed", "disturbed")
    ]
    for name in ends[0].files:
        np.testing.assert_array_equal(ends[0][name], ends[1][name], err_msg=name)
    scores = [
        (tmp_path / name / "summary.json").read_text() for name in ("undisturbed", "disturbed")
    ]
    assert scores[0] == scores[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disturbed", "undisturbed"]

    # A folder that holds a run is refused by all, in the chief's words.
    codes, outputs = finish(train(tmp_path, "disturbed", *unlabelled))
    assert codes == [2, 2] and all("exists and is not empty" in text for text in outputs), outputs


def child_of(pid):
    """The process that a supervisor runs."""
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    (child,) = " ".join(children.read_text() for children in threads).split()
    return int(child)
