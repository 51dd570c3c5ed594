"""Random numbers that are a function of a seed, on every device and under every compiler."""

import tensorflow as tf

_PHILOX = 1  # TensorFlow's number of the algorithm
_SCRAMBLING_KEY = 0x02461E29_3EC8F720


def uniform(shape, seed):
    """Uniform random numbers in [0, 1), multiples of 2**-23.

    They are those of `tf.random.stateless_uniform` on the CPU. Under XLA and on GPUs that draws
    others: it makes another key of a negative seed and other fractions of the same bits. Both are
    done here, in the same way everywhere.

    Args:
        shape: tuple of integers, or of integer scalars.
        seed: two integers, or an integer tensor `(2,)`.

    Returns:
        float32 tensor.
    """
    seed = tf.cast(tf.cast(tf.convert_to_tensor(seed), tf.int64), tf.uint64)
    mixed = _bits((4,), tf.constant([_SCRAMBLING_KEY], tf.uint64), seed)
    key, high = tf.split(tf.bitcast(tf.reshape(mixed, (2, 2)), tf.uint64), 2)  # (1,) each
    bits = _bits(shape, key, tf.concat([tf.zeros_like(high), high], axis=0))
    mantissa = tf.bitwise.bitwise_and(bits, tf.constant(0x7FFFFF, tf.uint32))
    return tf.cast(mantissa, tf.float32) * 2.0**-23


def _bits(shape, key, counter):
    return tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=shape, key=key, counter=counter, alg=_PHILOX, dtype=tf.uint32
    )
