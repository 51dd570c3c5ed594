"""The yardstick: PyTorch's step does what CueCo's does, so that their speeds can be compared."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ENVIRONMENT

from cueco_tf.parts import clusters
from pipelines import benchmark
from pipelines.benchmarking import bare_step

SIZES = argparse.Namespace(encoder="resnet10", width=4, batch_size=8)
VIEWS = bare_step.random_views(SIZES.batch_size)
needs_gpu = pytest.mark.skipif(
    not list(Path("/dev").glob("nvidia[0-9]*")), reason="needs an NVIDIA GPU"
)


@pytest.fixture(scope="module")
def torch_cueco():
    pytest.importorskip("torch", reason='needs PyTorch: pip install ".[bench]"')
    from pipelines.benchmarking import torch_cueco

    return torch_cueco


def build():
    """A model whose clusters have started and whose rates stay as they are."""
    small = dict(clusters=5, queue_size=24, hidden_dim=16, projection_dim=8)
    at_once = dict(warmup_epochs=0.0, ramp_epochs=0, key_momentum=(0.9, 0.9))
    model = bare_step.build(SIZES, **small, **at_once)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9, weight_decay=0.01))
    model.optimizer.build(model.trainable_variables)
    bare_step.start_clusters(model)
    return model


def torch_side(torch_cueco, model, **options):
    return torch_cueco.TorchCueCo(SIZES.encoder, SIZES.width, model, VIEWS, **options)


def test_the_first_losses_are_cuecos(torch_cueco):
    model = build()
    side = torch_side(torch_cueco, model)
    facts = bare_step.compare_losses(model, VIEWS, side, 1e-4)
    assert len(facts) == 6 and all(loss > 0 for loss in facts.values())
    (alone,) = torch_side(torch_cueco, model, clusters=False).first_losses()
    assert alone == pytest.approx(facts["first info_nce"], rel=1e-4)
    side.queue.zero_()
    with pytest.raises(ValueError, match="compute different losses"):
        bare_step.compare_losses(model, VIEWS, side, 1e-4)


def test_two_steps_change_weights_queue_and_clusters_as_cuecos_do(torch_cueco):
    from pipelines.benchmarking.torch_network import padding_of_tensorflow

    model = build()
    side, before = torch_side(torch_cueco, model), torch_side(torch_cueco, model)
    step = tf.function(model.train_step)
    for _ in range(2):
        logs = step((tuple(map(tf.constant, VIEWS)), tf.zeros(SIZES.batch_size, tf.int32)))
        with padding_of_tensorflow():
            loss = side()
    assert float(loss) > 0 and float(logs["loss"]) > 0
    after = torch_side(torch_cueco, model)  # takes the weights that CueCo now has
    pairs = zip(side.parameters, after.parameters, before.parameters, strict=True)
    for own, expected, first in pairs:
        assert (own - expected).norm() < 0.01 * (own - first).norm()
    np.testing.assert_allclose(side.queue, after.queue, atol=1e-3)
    assert side.places.tolist() == list(range(16, 24))
    for own, expected in zip(side.clusters, after.clusters, strict=True):
        np.testing.assert_allclose(own, expected, atol=1e-3)


@pytest.mark.parametrize("count", [5, 300])  # one and several starting centroids a round
def test_kmeans_is_cuecos(torch_cueco, count):
    import torch

    from pipelines.benchmarking import torch_clusters

    rng = np.random.default_rng(count)
    vectors = rng.normal(size=(400, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    uniforms = rng.uniform(size=(count, clusters.seeding_trials(count))).astype(np.float32)
    ours = clusters.spherical_kmeans(tf.constant(vectors), tf.constant(uniforms))
    theirs = torch_clusters.spherical_kmeans(*map(torch.tensor, (vectors, uniforms)), 0.01)
    for own, expected in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(own, expected, atol=1e-4)


def test_dead_clusters_are_reseeded_as_cuecos(torch_cueco):
    import torch

    from pipelines.benchmarking import torch_clusters

    rng = np.random.default_rng(0)
    keys = rng.normal(size=(40, 8)).astype(np.float32)
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    variances, uniforms = rng.uniform(0.1, 1, 6), rng.uniform(0.01, 0.99, 40)
    for usage in ([0.5, 0.0, 0.2, 0.3, 0.0, 0.0], [1 / 6] * 6):
        given = [a.astype(np.float32) for a in (keys[:6], variances, np.array(usage))]
        given += [keys, uniforms.astype(np.float32)]
        theirs = torch_clusters.reseed(*map(torch.tensor, given))
        for own, expected in zip(theirs, clusters.reseed(*given), strict=True):
            np.testing.assert_allclose(own, expected, atol=1e-5)


def test_every_refresh_steps_steps_kmeans_makes_the_clusters_anew(torch_cueco):
    model = build()
    model.settings["refresh_steps"] = 2
    side = torch_side(torch_cueco, model)
    for step in range(1, 5):
        side()
        shares = 24 * side.clusters[2].numpy()  # of the queue's keys, after k-means alone
        assert (np.abs(shares - np.round(shares)).max() < 1e-4) == (step % 2 == 0)


def test_the_step_races_on_the_cpu(torch_cueco, tmp_path):
    out = tmp_path / "result.json"
    small = ["--device", "cpu", "--width", "2", "--batch-size", "2", "--steps", "1"]
    assert benchmark.main(["step", *small, "--rounds", "1", "--output", str(out)]) == 0
    result = json.loads(out.read_text())
    assert [list(c["sides"]) for c in result["comparisons"]] == [
        ["PyTorch", "CueCo"],
        ["matrix product", "CueCo"],
    ]


def test_a_gpu_that_is_not_there_is_refused_at_once(capsys):
    assert benchmark.main(["step", "--device", "gpu"]) == 2
    assert "TensorFlow finds no GPU here" in capsys.readouterr().err


@needs_gpu
@pytest.mark.slow
def test_the_step_races_on_a_gpu(torch_cueco, tmp_path):
    out = tmp_path / "result.json"
    small = ["--width", "8", "--batch-size", "64", "--refreshes", "1", "--rounds", "1"]
    command = [sys.executable, "-m", "pipelines.benchmark", "step", "--device", "gpu", *small]
    done = subprocess.run(
        [*command, "--output", out], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stderr
    comparisons = json.loads(out.read_text())["comparisons"]
    assert [next(iter(c["sides"])) for c in comparisons] == [
        "PyTorch, eager",
        "PyTorch, compiled",
        "PyTorch, graph",
    ]


_RECORDED = """
import argparse, cueco_tf, torch
from pipelines.benchmarking import bare_step, devices, torch_cueco
devices.choose("gpu")
sizes = argparse.Namespace(encoder="resnet10", width=4, batch_size=8)
model = bare_step.build(sizes, clusters=5, queue_size=24, refresh_steps=2)
bare_step.start_clusters(model)
given = sizes.encoder, sizes.width, model, bare_step.random_views(sizes.batch_size)

plain, recorded = (
    torch_cueco.TorchCueCo(*given, clusters=False, device="cuda") for _ in range(2)
)
recorded.record()  # takes three steps
losses = [float(plain()) for _ in range(6)][3:]
assert len(set(losses)) == 3
torch.testing.assert_close([float(recorded()) for _ in range(3)], losses, rtol=1e-2, atol=0)
torch.testing.assert_close(plain.queue, recorded.queue, rtol=0, atol=0.02)

side = torch_cueco.TorchCueCo(*given, device="cuda")
side.record()
for step in range(1, 5):
    before = side.clusters[0].clone()
    side()
    assert not torch.equal(before, side.clusters[0])
    shares = 24 * side.clusters[2]  # of the queue's keys, after k-means alone
    assert bool(((shares - shares.round()).abs() < 1e-4).all()) == (step % 2 == 0)
"""


@needs_gpu
@pytest.mark.slow
def test_a_recorded_step_learns_as_it_does_unrecorded(torch_cueco):
    done = subprocess.run(
        [sys.executable, "-c", _RECORDED], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stderr
