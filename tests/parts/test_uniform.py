"""Random numbers are the same on every device and under every compiler."""

import numpy as np
import tensorflow as tf

from cueco_tf.parts.uniform import uniform

SEED = tf.constant([3, 77], tf.int64)


def draw():
    return uniform((5, 1000), SEED)


def test_they_are_those_of_tensorflow_on_the_cpu():
    np.testing.assert_array_equal(draw(), tf.random.stateless_uniform((5, 1000), SEED))


def test_xla_draws_the_same():
    np.testing.assert_array_equal(tf.function(draw, jit_compile=True)(), draw())
    # Which TensorFlow's own do not.
    own = tf.function(lambda: tf.random.stateless_uniform((5, 1000), SEED), jit_compile=True)
    assert not np.array_equal(own(), draw())


def test_they_are_uniform_and_below_one():
    values = uniform((100_000,), (1, 2)).numpy()
    assert values.min() >= 0 and values.max() < 1
    np.testing.assert_allclose(np.histogram(values, 10, (0, 1))[0] / 100_000, 0.1, atol=0.005)
