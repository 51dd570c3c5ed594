"""Turns whatever `fit` accepts into batches of `((view1, view2), labels)`.

Order and augmentation are functions of (seed, epoch, step): the batch of any step can be made
without making those before it, so training resumes in the middle of an epoch with the very
images it would have seen. Nor does a worker make what is another's: `part` is (index, count,
replicas) of `count` workers with `replicas` replicas in all, and everybody's images get the views
that they would get in one process.

A batch smaller than the number of replicas goes to each of them whole, its own images first: an
empty share crashes TensorFlow's kernels, and has no statistics for BatchNormalization. There are as
many labels as images are its own.
"""

import numpy as np
import tensorflow as tf

from cueco_tf.data.labels import UNLABELLED, check_kind, check_labels, warn_of_unused
from cueco_tf.data.late import Drawn, is_apart
from cueco_tf.data.order import shuffled_indices, steps_from
from cueco_tf.data.pixels import warn_if_scaled

WHOLE = (0, 1, 1)


def from_arrays(images, labels, batch_size, augment, seed, first_step, part=WHOLE):
    """Endless batches from images held in memory, shuffled anew each epoch.

    Args:
        images: `(n, height, width, channels)` array, pixels 0 to 255.
        labels: `(n,)` integers, or None.
        batch_size: integer >= 1; the last batch of an epoch may be smaller.
        augment: function of `(images, seed)` that returns two views.
        seed: integer.
        first_step: the step to begin with: an integer, or a function that returns it.
        part: (index, count, replicas): what to make of each batch. Defaults to all of it.

    Returns:
        `(dataset, steps_per_epoch)`.
    """
    count = len(images)
    steps_per_epoch = -(-count // batch_size)
    labels = np.full(count, UNLABELLED) if labels is None else labels
    with tf.device("CPU"):
        images, labels = tf.constant(images), tf.constant(labels, tf.int32)

    def batch(step):
        index = shuffled_indices(step, count, batch_size, seed)
        places, own = places_of(part, tf.shape(index)[0])
        views = _views_at(augment, tf.gather(images, index), (seed, step), places)
        return views, tf.gather(labels, tf.gather(index, places[:own]))

    batches = steps_from(first_step).map(batch, num_parallel_calls=tf.data.AUTOTUNE)
    return batches.prefetch(tf.data.AUTOTUNE), steps_per_epoch


def places_of(part, size):
    """Which images of a batch of `size` a part consists of: their places, `(n,)` int32, and how
    many of them, from the first, are its own. Parts differ by one own image at most."""
    index, count, replicas = part
    start, stop = size * index // count, size * (index + 1) // count
    length = tf.where(size < replicas, size, stop - start)
    return (start + tf.range(length)) % size, stop - start


def _views_at(augment, images, seed, places):
    """The views that the images at `places` have in the whole batch `images`."""
    if is_apart(augment):
        draws = augment.draws(tf.shape(images)[0], seed)
        return augment.render(tf.gather(images, places), tf.gather(draws, places))
    return tuple(tf.gather(view, places) for view in augment(images, seed))


def from_dataset(
    dataset,
    augment,
    image_shape,
    seed,
    first_step,
    steps_per_epoch=None,
    part=WHOLE,
    num_classes=None,
    first=None,
    of_use=True,
):
    """Batches from a user's batched `tf.data.Dataset`, which yields the same on all workers.

    Its elements may be images; `(images, labels)`, the second of rank 1 or `(n, 1)`; `(view1,
    view2)`, the second of rank 4; or `((view1, view2), labels)`. Ready-made views pass through
    untouched. Labels are checked batch by batch (`labels.check_labels`); where they are not
    `of_use`, a warning says so. The first step is an integer, or a function that returns it, which
    is called when batches are first asked for, and with data of unknown length at the beginning of
    each epoch. `first` is the first element of what can be read only once, whose pixels are looked
    at; None to read it.

    Returns:
        `(dataset, steps_per_epoch)`; the latter is None when nothing tells how long an epoch is.

    Raises:
        ValueError: for elements of another structure or shape, or an endless data set without
            `steps_per_epoch`.
    """
    split = splitter(dataset.element_spec, image_shape)
    steps_per_epoch = _length_of(dataset, steps_per_epoch, "steps_per_epoch")
    _warn_if_scaled(dataset, first, split)
    if steps_per_epoch is not None:
        dataset = dataset.repeat()
    numbered = tf.data.Dataset.zip(steps_from(first_step), dataset)
    return _viewed(numbered, split, augment, seed, part, num_classes, of_use), steps_per_epoch


def held_out(
    dataset, augment, image_shape, seed, steps=None, part=WHOLE, num_classes=None, first=None
):
    """Batches to evaluate on, as `from_dataset` makes them, but once through and with the same
    views each time, which no step of training draws.

    Returns:
        `(dataset, steps)`; the latter is None for all batches there are.

    Raises:
        ValueError: as there, with `steps` in the place of `steps_per_epoch`.
    """
    split = splitter(dataset.element_spec, image_shape)
    _length_of(dataset, steps, "steps")
    if steps is not None:
        dataset = dataset.take(steps)
    _warn_if_scaled(dataset, first, split)
    numbered = tf.data.Dataset.zip(steps_from(-1, by=-1), dataset)
    return _viewed(numbered, split, augment, seed, part, num_classes), steps


def _length_of(dataset, steps, name):
    """The batches of an epoch: `steps` or else what the data set tells, or None."""
    length = int(dataset.cardinality())
    if steps is None and length == tf.data.INFINITE_CARDINALITY:
        raise ValueError(f"The dataset never ends: pass `{name}`.")
    if length == 0:
        raise ValueError("The dataset is empty: there is not a single batch in it.")
    return length if steps is None and length > 0 else steps


def _viewed(numbered, split, augment, seed, part, num_classes, of_use=True):
    """The `((view1, view2), labels)` of numbered elements, ahead of their use."""

    def batch(number, element):
        images, views, labels = split(element)
        size = tf.shape(views[0] if images is None else images)[0]
        places, own = places_of(part, size)
        if views is None:
            views = _views_at(augment, images, (tf.constant(seed, tf.int64), number), places)
        elif part != WHOLE:
            views = tf.nest.map_structure(lambda each: tf.gather(each, places), views)
        labels = _checked(labels, size, num_classes, of_use)
        return views, tf.gather(labels, places[:own])

    return numbered.map(batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _checked(labels, size, num_classes, of_use):
    """The labels of a batch, int32 `(size,)`, -1 where there are none; bad ones end the pipeline,
    whatever the step would make of them."""
    if labels is None:
        return tf.fill((size,), UNLABELLED)

    def check(labels, size):
        labels = check_labels(labels, size, num_classes)
        if not of_use:
            warn_of_unused(labels)
        return labels.astype(np.int32)

    labels = tf.numpy_function(check, (labels, size), tf.int32)
    labels.set_shape((None,))
    return labels


def splitter(spec, image_shape):
    """The function that takes an element of a user's data set apart into (images, views, labels).

    Args:
        spec: the data set's `element_spec`.
        image_shape: (height, width, channels).

    Raises:
        ValueError: for elements of another structure or shape.
    """

    def rank(part):
        return getattr(getattr(part, "shape", None), "rank", None)

    def is_images(part):
        return rank(part) == 4 and part.shape[1:].is_compatible_with(image_shape)

    if is_images(spec):
        return lambda element: (element, None, None)
    if isinstance(spec, tuple) and len(spec) == 2:
        first, second = spec
        if is_images(first) and is_images(second):
            return lambda element: (None, element, None)
        pair = isinstance(first, tuple) and len(first) == 2 and all(map(is_images, first))
        if isinstance(first, Drawn):
            return lambda element: (None, *element)
        if (pair or is_images(first)) and rank(second) in (1, 2):
            check_kind(tuple(second.shape), np.dtype(second.dtype.as_numpy_dtype))
            if pair:
                return lambda element: (None, *element)
            return lambda element: (element[0], None, element[1])
    shape = "x".join(str(size) for size in image_shape)
    raise ValueError(
        f"The dataset should yield batches of {shape} images, (images, labels), (view1, view2) or "
        f"((view1, view2), labels). Received elements: {spec}. (Is it batched, and is the encoder "
        f"built for its image size and channels?)"
    )


def _warn_if_scaled(dataset, first, split):
    for element in dataset.take(1) if first is None else [first]:
        images, views, _ = split(element)
        pixels = np.asarray(images if views is None else views[0])
        if views is None or pixels.max() <= 1:  # views may be as dark as augmentation makes them
            warn_if_scaled(pixels)


def check_images(images, image_shape):
    """Checks an array of images and returns it as NumPy.

    Raises:
        ValueError: unless it is a non-empty, finite, numeric `(n, *image_shape)` array.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[1:] != tuple(image_shape) or len(images) == 0:
        shape = ", ".join(str(size) for size in image_shape)
        raise ValueError(
            f"Images should have shape (n, {shape}), n >= 1, as the encoder was built for. "
            f"Received shape: {images.shape}"
        )
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        deep = images.dtype == np.uint16
        advice = ": make them float32 and divide by 257, or by what makes white 255" if deep else ""
        raise ValueError(
            f"Images should be uint8 or float, pixels 0 to 255. Received dtype: "
            f"{images.dtype}{advice}"
        )
    if np.issubdtype(images.dtype, np.floating) and not np.isfinite(images).all():
        raise ValueError("Images should be finite. Received NaN or infinite pixels.")
    warn_if_scaled(images)
    return images
