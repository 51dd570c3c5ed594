"""Random numbers that are a function of a seed, on every device and under every compiler."""

import tensorflow as tf


def uniform(shape, seed):
    """Uniform random numbers in [0, 1), multiples of 2**-23.

    `tf.random.stateless_uniform` draws others under XLA and on GPUs than on the CPU; its bits are
    the same everywhere, and from them its CPU kernel makes these very numbers.

    Args:
        shape: tuple of integers, or of integer scalars.
        seed: two integers, or an integer tensor `(2,)`.

    Returns:
        float32 tensor.
    """
    bits = tf.random.stateless_uniform(shape, seed, minval=None, maxval=None, dtype=tf.int32)
    mantissa = tf.bitwise.bitwise_and(bits, 0x7FFFFF)
    return tf.cast(mantissa, tf.float32) * 2.0**-23
