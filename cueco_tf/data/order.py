"""The numbers of the steps, and the images of each: functions of (seed, epoch, step)."""

import numpy as np
import tensorflow as tf


def steps_from(first_step, by=1):
    """An endless data set of the numbers of the steps, int64.

    Args:
        first_step: integer; or a function that returns it, which is called when the first batch is
            asked for, for callbacks may restore a state until then.
        by: 1, or -1 to count down. Defaults to 1.
    """
    if callable(first_step):

        def first(_):
            return tf.numpy_function(lambda: np.int64(first_step()), [], tf.int64)

        numbers = tf.data.Dataset.range(1).map(first)
    else:
        numbers = tf.data.Dataset.from_tensors(np.int64(first_step))
    numbers = numbers.flat_map(
        lambda number: tf.data.Dataset.range(
            tf.reshape(number, ()), by * np.iinfo(np.int64).max, by
        )
    )
    return numbers.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))


def shuffled_indices(step, count, batch_size, seed):
    """The images of one step: `(batch,)` int64, every image once an epoch, in an order that is a
    function of the seed and the epoch. No permutation is held in memory."""
    steps_per_epoch = -(-count // batch_size)
    epoch, start = step // steps_per_epoch, (step % steps_per_epoch) * batch_size
    return epoch_order(epoch, count, seed, tf.range(start, tf.minimum(start + batch_size, count)))


def epoch_order(epoch, count, seed, places=None):
    """The images of an epoch in its order, or those at some places of it: int64 `(n,)`."""
    epoch = tf.cast(epoch, tf.int64)
    # `tf.random.experimental.index_shuffle` is this operation with four rounds, after which
    # neighbours are still correlated; after sixteen they are not.
    return tf.raw_ops.RandomIndexShuffle(
        index=tf.range(count, dtype=tf.int64) if places is None else places,
        seed=tf.stack([tf.constant(seed, tf.int64), epoch, tf.zeros_like(epoch)]),
        max_index=tf.constant(count - 1, tf.int64),
        rounds=16,
    )
