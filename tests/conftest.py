import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import hypothesis
import pytest

pytest_plugins = ["embed_inputs"]
SHARED = Path(__file__).resolve().parents[2] / "shared" / "tensorflow_datasets"
# All tests but those of a GPU run on the CPU, in the same precision on each: without AMX.
_CHANGED = {"CUDA_VISIBLE_DEVICES": "", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_FP16"}
# A worker of pytest-xdist inherits the changes, so they go with what was there before.
_BEFORE = json.loads(
    os.environ.setdefault(
        "CUECO_TF_TESTS_BEFORE", json.dumps({name: os.environ.get(name) for name in _CHANGED})
    )
)
ENVIRONMENT = {
    name: value for name, value in {**os.environ, **_BEFORE}.items() if value is not None
}
os.environ |= _CHANGED
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", f"{tempfile.gettempdir()}/hypothesis")

import cueco_tf  # noqa: E402, F401 (before TensorFlow)

# isort: split
import tensorflow as tf  # noqa: E402

# Two logical devices, so that MirroredStrategy has two replicas on any machine.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


# The same few examples each time, and no memory of those of the last time.
hypothesis.settings.register_profile(
    "cueco_tf",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=40,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("cueco_tf")


@pytest.fixture(scope="session")
def cifar_dir():
    """The folder of TensorFlow Datasets that holds the real CIFAR-100."""
    for folder in (os.environ.get("TFDS_DATA_DIR"), SHARED):
        if folder and Path(folder, "cifar100").is_dir():
            return Path(folder)
    pytest.skip("CIFAR-100 is not on this machine: set TFDS_DATA_DIR to where it is prepared")


@pytest.fixture(scope="session")
def cifar(cifar_dir):
    """CIFAR-100 as an `ImageSet`."""
    from cueco_tf import data

    return data.load("cifar100", cifar_dir)


@pytest.fixture(scope="session")
def mirrored():
    """One strategy for all tests: TensorFlow numbers its collectives a strategy, and a second one
    in the same process would meet the shapes of the first."""
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    strategy = tf.distribute.MirroredStrategy(devices)
    assert strategy.num_replicas_in_sync == 2
    return strategy


@pytest.fixture(scope="session")
def digits():
    """The digits as an `ImageSet` at their preset size."""
    from cueco_tf import data

    return data.load("digits", image_size=16)


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory):
    """The folder of a short finished run on the digits. Tests read it and leave it as it is."""
    path = tmp_path_factory.mktemp("runs") / "digits"
    options = ["--dataset", "digits", "--width", 8, "--epochs", 4, "--warmup-epochs", 1]
    done = module("cueco_tf.train", *options, "--run-dir", path)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="session")
def digits_findings(digits_run, digits):
    """What the report shows of `digits_run`."""
    from cueco_tf.running.loading import load_run
    from cueco_tf.running.run_folder import RunFolder
    from pipelines.reporting.examine import examine

    names = [f"digits/train#{i}" for i in range(len(digits.train))]
    run = load_run(digits_run)
    return examine(RunFolder(digits_run), run, digits.train, names, digits.class_names, None)


@pytest.fixture(scope="session")
def digits_export(digits_run, tmp_path_factory):
    """The export of that run, in float32."""
    path = tmp_path_factory.mktemp("exported") / "digits"
    done = module("pipelines.export", digits_run, "--output", path)
    assert done.returncode == 0, done.stderr
    return path


def pytest_collection_modifyitems(items):
    """Files with slow tests come first, so that several processes end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def module(name, *arguments, **options):
    """Runs `python -m name` as a user does."""
    command = [sys.executable, "-m", name, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)
