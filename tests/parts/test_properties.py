"""Whatever passes validation gives finite results; whatever does not is refused by name."""

import math
from collections import deque

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cueco_tf import CueCo
from cueco_tf.parts import clusters, losses
from cueco_tf.parts.queue import KeyQueue
from cueco_tf.settings.fields import ConfigError
from cueco_tf.settings.methods import CueCoSettings

counts = st.integers(1, 9)
seeds = st.integers(0, 2**32 - 1)
momenta = st.sampled_from([0.0, 0.5, 0.99, 1.0]) | st.floats(0, 1)
# Temperatures over all their orders of magnitude, the least one among them.
temperatures = st.floats(-4, 6).map(lambda power: 10.0**power)
not_finite = st.sampled_from([math.nan, math.inf, -math.inf])
not_temperatures = not_finite | st.floats(max_value=losses.MINIMUM_TEMPERATURE, exclude_max=True)


def vectors(seed, count, dim):
    """L2-normalised vectors of every kind: scattered, equal, opposite, and empty slots."""
    rng = np.random.default_rng(seed)
    drawn = rng.normal(size=(count, dim))
    drawn[rng.random(count) < 0.3] = drawn[0]
    drawn[rng.random(count) < 0.2] = -drawn[0]
    drawn[rng.random(count) < 0.1] = 0
    return clusters.normalize(drawn.astype("float32")).numpy()


def finite(*arrays):
    return all(np.isfinite(np.asarray(array)).all() for array in arrays)


@given(seeds, counts, counts, counts, counts, temperatures)
def test_losses_and_their_gradients_are_finite(seed, batch, dim, queue, num_clusters, temperature):
    rng = np.random.default_rng(seed)
    queries, keys = (vectors(seed + i, batch, dim) for i in (0, 1))
    centroids = vectors(seed + 2, num_clusters, dim)
    assignments = rng.integers(0, num_clusters, batch).astype("int32")
    variances = rng.uniform(clusters.VARIANCE_FLOOR, 4, num_clusters).astype("float32")
    variable = tf.constant(queries)
    for loss, arguments in (
        (losses.info_nce, (keys, vectors(seed + 3, queue, dim), temperature)),
        (losses.centroid_contrast, (centroids, assignments, temperature)),
        (losses.cluster_variance, (centroids, variances, assignments)),
    ):
        with tf.GradientTape() as tape:
            tape.watch(variable)
            values = loss(variable, *arguments)
        assert values.shape == (batch,) and finite(values, tape.gradient(values, variable))
        assert np.min(values) >= -1e-5 / temperature  # the rounding of a logit


@given(not_temperatures)
def test_temperatures_out_of_range_are_refused_by_name(temperature):
    x, assignments = vectors(0, 3, 4), np.zeros(3, "int32")
    with pytest.raises(ValueError, match="`temperature` should be"):
        losses.info_nce(x, x, x, temperature)
    with pytest.raises(ValueError, match="`temperature` should be"):
        losses.centroid_contrast(x, x, assignments, temperature)
    with pytest.raises(ConfigError, match="--temperature should be"):
        CueCoSettings(temperature=temperature)


def test_the_least_temperature_is_allowed():
    settings = CueCoSettings(temperature=losses.MINIMUM_TEMPERATURE)
    assert settings.temperature == losses.MINIMUM_TEMPERATURE


@given(st.integers(1, 20), counts, st.lists(st.integers(1, 50), max_size=6), seeds)
def test_a_queue_of_any_size_holds_the_newest_keys(size, dim, batches, seed):
    queue, expected, written = KeyQueue(size, dim), deque(maxlen=size), 0
    for i, batch in enumerate(batches):
        keys = np.random.default_rng(seed + i).normal(size=(batch, dim)).astype("float32")
        queue.enqueue(keys)
        expected.extend(keys)
        written += batch
    position = int(queue.queue_position.value)
    assert position == written % size and bool(queue.filled) == (written >= size)
    held = np.roll(queue.queue.numpy(), -position, axis=0)
    np.testing.assert_array_equal(held[size - len(expected) :], np.reshape(expected, (-1, dim)))
    assert not held[: size - len(expected)].any()


@settings(max_examples=15)
@given(seeds, st.integers(2, 9), counts, st.integers(1, 30), momenta, momenta)
def test_clusters_stay_finite_and_their_usage_a_share(seed, number, dim, batch, beta1, beta2):
    rng = np.random.default_rng(seed)
    centroids, keys = vectors(seed, number, dim), vectors(seed + 1, batch, dim)
    variances = rng.uniform(clusters.VARIANCE_FLOOR, 4, number).astype("float32")
    usage = rng.dirichlet(np.full(number, 0.2)).astype("float32")  # some of them dead
    assignments = clusters.assign(keys, centroids)
    assert np.min(assignments) >= 0 and np.max(assignments) < number

    centroids, variances = clusters.update(centroids, variances, keys, assignments, beta1, beta2)
    usage = clusters.update_usage(usage, assignments)
    queue = vectors(seed + 2, number + batch, dim)
    moved = centroids, variances, usage
    mended = clusters.reseed(*moved, queue, rng.random(len(queue)).astype("float32"))
    started = clusters.spherical_kmeans(
        queue, rng.random((number, clusters.seeding_trials(number))).astype("float32")
    )
    for centroids, variances, usage in (moved, mended, started):
        assert finite(centroids, variances, usage)
        assert np.max(np.linalg.norm(centroids, axis=1)) < 1 + 1e-5
        assert np.min(variances) >= clusters.VARIANCE_FLOOR and np.max(variances) < 4 + 1e-5
        assert np.sum(usage) == pytest.approx(1, abs=1e-5) and np.min(usage) >= 0
        assert 0 <= float(clusters.usage_entropy(usage)) <= 1 + 1e-5
    were_dead = np.asarray(clusters.is_dead(moved[2]))
    assert not np.asarray(clusters.is_dead(mended[2]))[were_dead].any()


@given(
    st.sampled_from(["num_clusters", "hidden_dim", "projection_dim", "queue_size"]),
    st.integers(max_value=0),
)
def test_a_model_refuses_sizes_by_name(name, size):
    with pytest.raises(ValueError, match=f"`{name}` should be"):
        CueCo(**{"encoder": None, "num_clusters": 4, name: size})


@given(
    st.sampled_from(["temperature", "key_momentum", "centroid_momentum", "variance_momentum"]),
    not_finite | st.floats(max_value=-1e-9),
)
def test_a_model_refuses_numbers_by_name(name, value):
    with pytest.raises(ValueError, match=f"`{name}` should be"):
        CueCo(**{"encoder": None, "num_clusters": 4, name: value})


def test_one_step_of_the_extremes_that_pass_is_finite():
    inputs = keras.Input((8, 8, 3))
    encoder = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype("uint8")
    for options in (
        dict(num_clusters=2, queue_size=2, hidden_dim=1, projection_dim=1),
        dict(num_clusters=5, queue_size=5, key_momentum=0, centroid_momentum=0, symmetric=True),
        dict(num_clusters=3, queue_size=4, temperature=losses.MINIMUM_TEMPERATURE),
    ):
        model = CueCo(encoder, warmup_steps=0, **options)
        model.compile(keras.optimizers.SGD(1e-3))
        model.fit(images, batch_size=3, epochs=3, verbose=0)
        assert finite(*(weight.numpy() for weight in model.weights))
