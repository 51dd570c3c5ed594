"""Mixed precision and XLA: close to float32, with all state in float32."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from cueco_tf import CueCo
from cueco_tf.methods import building
from cueco_tf.methods.building import build_model
from cueco_tf.parts.batch_norm import FusedBatchNormalization
from cueco_tf.running import checkpoints
from cueco_tf.settings.fields import ConfigError
from cueco_tf.settings.run import RunConfig

STEPS = 8
PER_STEP = ("loss", "usage_entropy", "mean_variance")


def build(precision):
    """A run's model at its smallest; its clusters start in the second step."""
    config = RunConfig.for_dataset(
        "digits",
        precision=precision,
        width=8,
        batch_size=32,
        queue_size=64,
        clusters=5,
        warmup_epochs=0,
        learning_rate=0.12,
        learning_rate_warmup=0.0,
        epochs=1,
    )
    model = build_model(config.resolve(32 * STEPS, 8, 10))
    if precision == "mixed_float16":
        model.optimizer.dynamic_scale.assign(2.0**10)  # at Keras's 2**15 first steps are skipped
    return model


@pytest.fixture(scope="module")
def batches(digits):
    images = digits.train.images[: 64 * STEPS, ::2, ::2].astype("float32")
    views = images.reshape(STEPS, 2, 32, 8, 8, 3)
    return tf.data.Dataset.from_tensor_slices((views[:, 0], views[:, 1]))


def train(model, batches):
    """The mean losses after each step: `(steps, len(PER_STEP))`."""
    rows = []
    record = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: rows.append([float(logs[n]) for n in PER_STEP])
    )
    model.fit(batches, verbose=0, callbacks=[record])
    return np.array(rows)


def state(model):
    return {
        weight.name: weight.numpy() for weight in (*model.memory.weights, *model.clusters.weights)
    }


@pytest.fixture(scope="module")
def trained(batches):
    """`trained(precision)`: a model after all steps, what it reported, and its state then."""

    @functools.cache
    def of(precision):
        model = build(precision)
        return model, train(model, batches), state(model)

    return of


# The unit round-off of each type. Losses stay within a few of it. Rounding also turns a ReLU on or
# off, as often as it is large, and each time a whole term of the gradient comes or goes: what was
# learnt from gradients stays within its root.
@pytest.mark.parametrize(
    "precision, compute, roundoff",
    [("mixed_bfloat16", "bfloat16", 2.0**-8), ("mixed_float16", "float16", 2.0**-11)],
)
def test_mixed_precision_follows_float32_and_keeps_its_state_in_float32(
    precision, compute, roundoff, trained
):
    model, got, own = trained(precision)
    assert keras.config.dtype_policy().name == "float32"  # of whatever is made next
    convolutions = [
        layer
        for network in (model.encoder, model.key_encoder.network)
        for layer in network.layers
        if isinstance(layer, keras.layers.Conv2D)
    ]
    assert len(convolutions) == 24
    assert {layer.compute_dtype for layer in convolutions} == {compute}
    variables = (*model.weights, *model.optimizer.variables, *model.metrics_variables)
    dtypes = {str(variable.dtype) for variable in variables}
    assert {dtype for dtype in dtypes if "float" in dtype} == {"float32"}

    _, expected, other = trained("float32")
    assert 0 < np.abs(got - expected).max() < 4 * roundoff * np.abs(expected).max()
    for name in ("queue", "centroids", "variances"):
        drift = np.linalg.norm(own[name] - other[name]) / np.linalg.norm(other[name])
        assert drift < 4 * roundoff**0.5, name
    assert model(np.zeros((2, 8, 8, 3), "uint8")).dtype == "float32"


def test_a_loss_scaled_too_far_skips_the_step_and_is_scaled_less(trained, batches):
    model = trained("mixed_float16")[0]
    optimizer = model.optimizer
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    steps = int(optimizer.iterations)
    assert steps == STEPS  # none was skipped so far
    for scale, after, moves in ((2.0**40, 2.0**39, False), (2.0**10, 2.0**10, True)):
        optimizer.dynamic_scale.assign(scale)
        before = model.head.weights[0].numpy()
        train(model, batches.take(1))
        assert np.any(model.head.weights[0].numpy() != before) == moves
        assert float(optimizer.dynamic_scale) == after
    assert int(optimizer.iterations) == steps + 1


def test_a_resumed_run_in_float16_keeps_its_loss_scale(trained, batches, tmp_path):
    whole = trained("mixed_float16")[0]
    whole.optimizer.dynamic_scale.assign(2.0**9)
    checkpoints.save(tmp_path, whole)
    resumed = build("mixed_float16")
    checkpoints.restore(tmp_path, resumed)
    for model in (whole, resumed):
        train(model, batches.take(2))
    assert float(resumed.optimizer.dynamic_scale) == 2.0**9
    for own, other in zip(
        (*resumed.weights, *resumed.optimizer.variables),
        (*whole.weights, *whole.optimizer.variables),
        strict=True,
    ):
        np.testing.assert_array_equal(own.numpy(), other.numpy())


@pytest.mark.slow
def test_xla_computes_the_same_step(batches):
    """It draws other random numbers, so the clusters start from the same state here."""
    results = []
    for jit in (False, True):
        keras.utils.set_random_seed(0)
        x = inputs = keras.Input((8, 8, 3))
        x = keras.layers.Rescaling(1 / 127.5, -1)(x)
        x = keras.layers.Conv2D(16, 3, 2, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU()(FusedBatchNormalization(momentum=0.9)(x))
        encoder = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
        model = CueCo(encoder, 5, 64, hidden_dim=16, projection_dim=8, warmup_steps=0)
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9), jit_compile=jit)
        assert model.jit_compile is jit
        model.clusters.usage.assign(np.full(5, 0.2))
        results.append((train(model, batches), model))
    (plain, own), (compiled, other) = results
    np.testing.assert_allclose(compiled, plain, rtol=1e-4, atol=1e-5)
    for one, two in zip(own.weights, other.weights, strict=True):
        np.testing.assert_allclose(two.numpy(), one.numpy(), atol=1e-4, err_msg=one.path)

    other.clusters.usage.assign(np.zeros(5))  # as before the first k-means
    assert train(other, batches.take(1))[0, 1] > 0.5  # usage entropy
    centroids = other.clusters.centroids.numpy()
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, rtol=1e-5)


def test_an_unknown_precision_is_refused():
    with pytest.raises(ConfigError, match="--precision should be one of float32, mixed_bfloat16"):
        RunConfig.for_dataset("digits", precision="float16")


@pytest.mark.parametrize(
    ("flags", "most", "precision"),
    [
        ("avx512_bf16 amx_bf16 amx_tile", None, "mixed_bfloat16"),
        ("avx512_bf16 amx_bf16 amx_tile", "avx10_1_512_amx", "mixed_bfloat16"),
        ("avx512_bf16 amx_bf16 amx_tile", "AVX512_CORE_BF16", "float32"),
        ("avx512_bf16", None, "float32"),
        (None, None, "float32"),
    ],
)
def test_a_processor_with_amx_trains_in_bfloat16(tmp_path, monkeypatch, flags, most, precision):
    monkeypatch.setattr(building, "_PROCESSOR", tmp_path / "cpuinfo")
    if flags is not None:
        building._PROCESSOR.write_text(f"processor\t: 0\nflags\t\t: fpu sse {flags}\n")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    if most:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", most)
    config = RunConfig.for_dataset("digits").resolve(100, 8, 10)
    assert building.fit_to_devices(config).precision == precision
    given = config.replace(precision="mixed_float16")
    assert building.fit_to_devices(given).precision == "mixed_float16"
