"""Random numbers are the same on every device and under every compiler."""

import numpy as np
import pytest
import tensorflow as tf

from cueco_tf.parts.uniform import uniform

SEED = tf.constant([3, 77], tf.int64)
NEGATIVE = tf.random.experimental.stateless_fold_in(SEED, 1)  # int32
SEEDS = pytest.mark.parametrize("seed", [SEED, NEGATIVE])


@SEEDS
def test_they_are_those_of_tensorflow_on_the_cpu(seed):
    expected = tf.random.stateless_uniform((5, 1000), seed)
    np.testing.assert_array_equal(uniform((5, 1000), seed), expected)


@SEEDS
def test_xla_draws_the_same(seed):
    def draw():
        return uniform((5, 1000), seed)

    np.testing.assert_array_equal(tf.function(draw, jit_compile=True)(), draw())
    # Which TensorFlow's own do not.
    own = tf.function(lambda: tf.random.stateless_uniform((5, 1000), seed), jit_compile=True)
    assert not np.array_equal(own(), draw())


def test_the_negative_seed_is_one():
    assert NEGATIVE.dtype == tf.int32 and int(tf.reduce_min(NEGATIVE)) < 0


def test_they_are_uniform_and_below_one():
    values = uniform((100_000,), (1, 2)).numpy()
    assert values.min() >= 0 and values.max() < 1
    np.testing.assert_allclose(np.histogram(values, 10, (0, 1))[0] / 100_000, 0.1, atol=0.005)
