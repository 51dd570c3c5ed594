"""What holds on a GPU. All other tests run on the CPU, also where there is a GPU.

There the arithmetic of a step is not the same from run to run to the last bit (cuDNN and XLA add
up in any order), so what is bit for bit on the CPU is compared to rounding here.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, SHARED

pytestmark = pytest.mark.slow
needs_gpu = pytest.mark.skipif(
    not list(Path("/dev").glob("nvidia[0-9]*")), reason="needs an NVIDIA GPU"
)

# As pytest-xdist does: a process that has read the tests' settings starts another one.
_WORKER = """
import conftest, os, subprocess, sys
given, left = (found["CUDA_VISIBLE_DEVICES"] for found in (conftest.ENVIRONMENT, os.environ))
print([given, left], flush=True)
sys.argv[1:] and subprocess.run([sys.executable, "-c", sys.argv[1]], check=True)
"""

_COMPARE = """
import cueco_tf, keras, numpy as np, tensorflow as tf
from cueco_tf import data
tf.config.experimental.enable_tensor_float_32_execution(False)
assert tf.config.list_logical_devices("GPU")
split = data.load("digits", image_size=16).train
images, labels = split.images[:90], split.labels[:90]

def train(device):
    strategy = tf.distribute.OneDeviceStrategy(device)
    with strategy.scope():
        keras.utils.set_random_seed(0)
        encoder = cueco_tf.build_encoder("resnet10", 8, 16)
        # The clusters follow without teaching: a rounding can change which of them an image is in.
        sizes = dict(queue_size=48, hidden_dim=16, projection_dim=8, loss_weights=(1, 0, 0))
        model = cueco_tf.CueCo(encoder, 5, warmup_steps=2, num_classes=10, **sizes)
        on_gpu = device.startswith("GPU")
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9), jit_compile=on_gpu)
    # One epoch: by the third a millionth more of one kernel on the CPU has become 0.07 elsewhere.
    fitting = dict(batch_size=32, epochs=1, verbose=0, on_device=on_gpu)
    return model, model.fit(images, labels, **fitting).history

(gpu, logs), (cpu, expected) = train("GPU:0"), train("CPU:0")
np.testing.assert_allclose(logs["info_nce"], expected["info_nce"], rtol=1e-3)
for own, other in zip(gpu.encoder.weights, cpu.encoder.weights, strict=True):
    np.testing.assert_allclose(own.numpy(), other.numpy(), atol=5e-3, err_msg=own.path)
"""

# Two devices made of one: NCCL wants two GPUs, so what they add up is added up on one of them.
_TOGETHER = """
import cueco_tf, keras, numpy as np, tensorflow as tf
from cueco_tf import data
from cueco_tf.parts.optimizers import SGD
tf.config.experimental.enable_tensor_float_32_execution(False)
two = [tf.config.LogicalDeviceConfiguration(memory_limit=8192)] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("GPU")[0], two)
adding = tf.distribute.ReductionToOneDevice()
strategy = tf.distribute.MirroredStrategy(["GPU:0", "GPU:1"], cross_device_ops=adding)
images = data.load("digits", image_size=16).train.images[:48]

def train(jit_compile):
    with strategy.scope():
        keras.utils.set_random_seed(0)
        encoder = cueco_tf.build_encoder("resnet10", 8, 16)
        sizes = dict(queue_size=48, hidden_dim=16, projection_dim=8, loss_weights=(1, 0, 0))
        model = cueco_tf.CueCo(encoder, 5, warmup_steps=2, **sizes)
        model.compile(SGD(0.05, momentum=0.9), jit_compile=jit_compile)
    return model, model.fit(images, batch_size=16, verbose=0).history

(plain, expected), (compiled, logs) = train(False), train(True)
np.testing.assert_allclose(logs["info_nce"], expected["info_nce"], rtol=1e-3)
for own, other in zip(compiled.encoder.weights, plain.encoder.weights, strict=True):
    np.testing.assert_allclose(own.numpy(), other.numpy(), atol=5e-3, err_msg=own.path)
"""


def on_gpu(*command):
    environment = {**ENVIRONMENT, "TFDS_DATA_DIR": os.environ.get("TFDS_DATA_DIR", str(SHARED))}
    return subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, env=environment
    )


def test_a_gpu_is_hidden_from_all_other_tests_alone():
    environment = {**ENVIRONMENT, "CUDA_VISIBLE_DEVICES": "3"}
    environment.pop("CUECO_TF_TESTS_BEFORE", None)
    done = subprocess.run(
        [sys.executable, "-c", _WORKER, _WORKER],
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).parent,
    )
    assert done.stdout.splitlines() == ["['3', '']"] * 2, done.stderr


@needs_gpu
def test_the_compiled_step_on_a_gpu_trains_as_the_cpu_does():
    done = on_gpu("-c", _COMPARE)
    assert done.returncode == 0, done.stderr


@needs_gpu
def test_two_devices_of_a_gpu_train_compiled_as_not_compiled():
    done = on_gpu("-c", _TOGETHER)
    assert done.returncode == 0, done.stderr


@needs_gpu
def test_a_run_on_a_gpu_learns_and_goes_on(tmp_path):
    """By the command line, with what it chooses for a GPU."""
    options = ["--dataset", "digits", "--width", 8, "--epochs", 6, "--run-dir", tmp_path / "run"]
    done = on_gpu("-m", "cueco_tf.train", *options)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "encoder.keras").exists()
    again = on_gpu("-m", "cueco_tf.train", "--run-dir", tmp_path / "run", "--resume")
    assert again.returncode == 0 and "is finished" in again.stdout
    import json

    scores = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert scores["knn_top1"] > 0.85
