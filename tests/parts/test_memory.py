from collections import deque

import numpy as np
import pytest

from cueco_tf.parts.queue import KeyQueue


@pytest.mark.parametrize(
    "batches", [(4, 4, 4), (3, 3, 3, 3, 3), (7, 5, 1, 2, 8), (8, 8), (20, 3, 9)]
)
def test_queue_holds_the_newest_keys_for_any_batch_size(batches):
    size, dim = 8, 2
    queue, expected, written = KeyQueue(size, dim), deque(maxlen=size), 0
    rng = np.random.default_rng(0)
    for batch in batches:
        keys = rng.normal(size=(batch, dim)).astype("float32")
        queue.enqueue(keys)
        expected.extend(map(tuple, keys))
        written += batch
        position = int(queue.queue_position.value)
        assert position == written % size
        held = queue.queue.numpy()
        oldest_first = np.roll(held, -position, axis=0)[-len(expected) :]
        np.testing.assert_array_equal(oldest_first, np.array(expected))
        assert bool(queue.filled) == (written >= size)


def test_empty_slots_are_zero_and_the_queue_is_not_trained():
    queue = KeyQueue(5, 3)
    queue.enqueue(np.ones((2, 3), "float32"))
    assert not queue.queue.numpy()[2:].any()
    assert queue.trainable_variables == []
    assert {weight.name for weight in queue.weights} == {"queue", "queue_position"}
