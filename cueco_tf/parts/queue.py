"""The queue of keys that serve as negatives."""

import keras
from keras import ops


def write(queue, position, keys):
    """Writes keys into a circular queue, the oldest ones first to go.

    Any number of keys is right: a write may wrap around the end, and when more keys come than
    the queue holds, the newest stay.

    Args:
        queue: `(K, dim)`.
        position: integer scalar in [0, K): where the next key goes.
        keys: `(n, dim)`, oldest first.

    Returns:
        `(queue, position)` after the write.
    """
    size = queue.shape[0]
    count = ops.shape(keys)[0]
    kept = ops.minimum(count, size)
    first = ops.cast(position, "int32") + (count - kept)
    slots = (first + ops.arange(kept, dtype="int32")) % size  # (kept,)
    queue = ops.scatter_update(queue, slots[:, None], keys[count - kept :])
    return queue, ops.cast((first + kept) % size, position.dtype)


class KeyQueue(keras.layers.Layer):
    """The last `size` keys, kept as weights so that a checkpoint resumes with its negatives.

    An empty slot holds the zero vector: similarity 0 to every query, and no gradient. Weights:
    `queue`, float32 `(size, dim)`; `queue_position`, int64 (int32 variables
    live on the CPU), the next slot to be written.

    Args:
        size: integer >= 1, the number of keys, K.
        dim: integer >= 1, the length of a key.

    Reference: MoCo, https://arxiv.org/abs/1911.05722, section 3.2.
    """

    def __init__(self, size, dim, **kwargs):
        super().__init__(**kwargs)
        state = dict(trainable=False, initializer="zeros", aggregation="only_first_replica")
        self.queue = self.add_weight(shape=(size, dim), dtype="float32", name="queue", **state)
        self.queue_position = self.add_weight(
            shape=(), dtype="int64", name="queue_position", **state
        )
        self.built = True

    def enqueue(self, keys):
        """Writes `(n, dim)` keys over the oldest ones."""
        queue, position = write(self.queue.value, self.queue_position.value, keys)
        self.queue.assign(queue)
        self.queue_position.assign(position)

    @property
    def filled(self):
        """Boolean scalar: every slot has been written. Slots are written in order, so the last
        one tells."""
        return ops.any(ops.not_equal(self.queue[-1], 0.0))

    @property
    def missing(self):
        """Integer scalar: how many slots have not been written."""
        return ops.sum(ops.cast(ops.all(ops.equal(self.queue.value, 0.0), axis=1), "int32"))
