"""Batches that Python yields, as a `tf.data.Dataset`."""

import itertools
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf


def is_iterable_of_batches(x):
    """Whether `x` yields batches: a generator, `keras.utils.PyDataset`, PyTorch's DataLoader."""
    arrays = hasattr(x, "__array__") or isinstance(x, (list, tuple, dict, str))
    return hasattr(x, "__iter__") and not arrays


def as_dataset(batches):
    """A data set of what an iterable yields, read batch by batch in one thread.

    Args:
        batches: an iterable of arrays, or of tuples of them, with the images of a batch along the
            first axis. An iterator is read once; anything else anew each epoch, with the methods
            that a `keras.utils.PyDataset` has for its beginning and end.

    Returns:
        `(dataset, first)`: a `tf.data.Dataset`, of known length where the iterable's is known, and
        its first element.

    Raises:
        ValueError: for one that yields nothing.
    """
    once = isinstance(batches, Iterator)
    source = iter(batches)
    try:
        first = _arrays(next(source))
    except StopIteration:
        raise ValueError(f"{type(batches).__name__} yields no batch.") from None
    if once:
        source = itertools.chain([first], source)

    def read():
        is_keras = isinstance(batches, keras.utils.PyDataset)
        if is_keras:
            batches.on_epoch_begin()
        yield from map(_arrays, source if once else batches)
        if is_keras:
            batches.on_epoch_end()

    spec = tf.nest.map_structure(lambda x: tf.TensorSpec((None, *x.shape[1:]), x.dtype), first)
    dataset = tf.data.Dataset.from_generator(read, output_signature=spec)
    length = None if once else _length(batches)
    if length is not None:
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(length))
    return dataset, first


def _length(batches):
    try:
        if isinstance(batches, keras.utils.PyDataset):
            length = batches.num_batches
            return tf.data.INFINITE_CARDINALITY if length is None else length
        return len(batches)
    except (NotImplementedError, TypeError):
        return None


def _arrays(batch):
    """A batch with NumPy arrays in it; one image array alone where it is a tuple of one."""
    if isinstance(batch, (list, tuple)):
        parts = tuple(map(_arrays, batch))
        return parts[0] if len(parts) == 1 else parts
    return np.asarray(batch)
