"""What `fit` and `evaluate` are given, and what they make of it: batches of views, plain images."""

import numpy as np
import tensorflow as tf

from cueco_tf.data.iterables import as_dataset, is_iterable_of_batches
from cueco_tf.data.labels import UNLABELLED, check_labels, warn_of_unused
from cueco_tf.data.views import (
    check_images,
    from_arrays,
    from_dataset,
    held_out,
    splitter,
)
from cueco_tf.distributed.replicas import own_part, share_out

DEFAULT_BATCH_SIZE = 256


def source_of(model, x, y=None, batch_size=None):
    """The source that suits what a user gives.

    Args:
        model: `TwoViewModel`.
        x: an array of images; a `tf.data.Dataset`, generator or `keras.utils.PyDataset` of batches;
            or a `tf.distribute.DistributedDataset` of views.
        y: labels of an array, or None.
        batch_size: integer >= 1 for an array, or None.

    Returns:
        `ArraySource`, `StreamSource` or `SharedSource`.

    Raises:
        ValueError: for images of another shape or dtype, or labels that do not match.
    """
    if isinstance(x, tf.distribute.DistributedDataset):
        return SharedSource(x)
    if not is_stream(x):
        return ArraySource(model, x, y, batch_size)
    if y is not None or batch_size is not None:
        raise ValueError("With a dataset, `y` and `batch_size` are part of it.")
    if isinstance(x, tf.data.Dataset):
        return StreamSource(model, x)
    return StreamSource(model, *as_dataset(x), again=not hasattr(x, "__next__"))


def is_stream(x):
    """Whether `x` comes in batches, and not as one array."""
    kinds = tf.data.Dataset, tf.distribute.DistributedDataset
    return isinstance(x, kinds) or is_iterable_of_batches(x)


def split_off(x, y, share):
    """Parts arrays for `fit(validation_split=)`: the last images are held out.

    Args:
        x, y: arrays, the second or None.
        share: float in (0, 1), of the images.

    Returns:
        `(x, y, validation_data)`.

    Raises:
        ValueError: for what comes in batches, or a share out of range.
    """
    if is_stream(x):
        raise ValueError(
            f"`validation_split` divides arrays. Give held-out batches as `validation_data`. "
            f"Received: {type(x).__name__}"
        )
    x, y = np.asarray(x), None if y is None else np.asarray(y)
    at = int(len(x) * (1 - share))
    if not 0 < share < 1 or at < 1:
        raise ValueError(
            f"`validation_split` should be a share in (0, 1) that leaves images to train on. "
            f"Received: validation_split={share} of {len(x)} images"
        )
    if y is None:
        return x[:at], None, (x[at:], None)
    return x[:at], y[:at], (x[at:], y[at:])


class SharedSource:
    """Batches of views that replicas share already, taken as they are."""

    labelled = again = False

    def __init__(self, batches):
        self.batches = batches

    def training(self, first_step, steps_per_epoch, augment):
        """`(batches, steps_per_epoch)` for `fit`."""
        return self.batches, steps_per_epoch

    def held_out(self, steps):
        """`(batches, steps)` for `evaluate`."""
        return self.batches, steps


class StreamSource:
    """Batches of a `tf.data.Dataset`, whose first element may be known.

    Attributes:
        labelled: whether there are labels.
        again: whether it can be read more than once.
        scores: whether its labels are of use beyond the probe. Defaults to False.
    """

    scores = False

    def __init__(self, model, dataset, first=None, again=True):
        self.model, self.dataset, self.again = model, dataset, again
        self._first = first
        self._split = splitter(dataset.element_spec, model.image_shape)
        self._steps = None  # of an epoch, where the end is nowhere in sight
        self.labelled = self._split(dataset.element_spec)[2] is not None

    def training(self, first_step, steps_per_epoch, augment):
        """`(batches, steps_per_epoch)` for `fit`; the latter is None where it is unknown.

        Args:
            first_step: function without arguments that returns the number of the first step.
            steps_per_epoch: integer, or None for all of them.
            augment: what makes the views, `TwoViewModel.sent`.
        """
        strategy = self.model.distribute_strategy
        if int(self.dataset.cardinality()) < 0:
            self._steps = steps_per_epoch
        probed = self.model.num_classes
        given = first_step, steps_per_epoch, own_part(strategy), probed, self._first
        how = augment, self.model.image_shape, self.model.seed
        batches, steps_per_epoch = from_dataset(
            self.dataset, *how, *given, of_use=self.scores or probed is not None
        )
        return share_out(strategy, batches), steps_per_epoch

    def held_out(self, steps):
        """`(batches, steps)` for `evaluate`: the same views each time."""
        strategy = self.model.distribute_strategy
        self._steps = steps
        given = steps, own_part(strategy), self.model.num_classes, self._first
        how = self.model.augment, self.model.image_shape, self.model.seed
        batches, steps = held_out(self.dataset, *how, *given)
        return share_out(strategy, batches), steps

    def plain(self, most):
        """The first images without augmentation, of ready-made views the first one.

        Args:
            most: integer, how many at most.

        Yields:
            `(images, labels)` batch by batch, arrays; labels `(n,)`, or None.
        """
        for element in self.dataset if self._steps is None else self.dataset.take(self._steps):
            images, views, labels = self._split(element)
            images = (views[0] if images is None else images)[:most]
            yield images.numpy(), None if labels is None else labels.numpy().reshape(-1)[:most]
            most -= len(images)
            if most <= 0:
                return


class ArraySource:
    """Images in memory, with the attributes of `StreamSource`."""

    again, scores = True, False

    def __init__(self, model, images, labels, batch_size):
        self.model = model
        self.images = check_images(images, model.image_shape)
        self.labels = self._checked(labels)
        self.batch_size = DEFAULT_BATCH_SIZE if batch_size is None else batch_size
        if self.batch_size < 1:
            raise ValueError(f"`batch_size` should be at least 1. Received: {batch_size}")
        self.labelled = self.labels is not None and bool((self.labels >= 0).any())

    def _checked(self, labels):
        if labels is None:
            return None
        return check_labels(labels, len(self.images), self.model.num_classes)

    def check_use(self):
        """Warns of labels that nothing uses."""
        if self.labels is not None and self.model.num_classes is None and not self.scores:
            warn_of_unused(self.labels)

    def training(self, first_step, steps_per_epoch, augment):
        """`(batches, steps_per_epoch)` for `fit`, as `StreamSource.training`."""
        strategy = self.model.distribute_strategy
        how = self.batch_size, augment, self.model.seed
        batches, whole = from_arrays(self.images, self.labels, *how, first_step, own_part(strategy))
        return share_out(strategy, batches), steps_per_epoch or whole

    def held_out(self, steps):
        """`(batches, steps)` for `evaluate`, as `StreamSource.held_out`."""
        labels = self.labels
        if labels is None:
            labels = np.full(len(self.images), UNLABELLED)
        with tf.device("CPU"):
            dataset = tf.data.Dataset.from_tensor_slices((self.images, labels))
        return StreamSource(self.model, dataset.batch(self.batch_size)).held_out(steps)

    def plain(self, most):
        """Random images without augmentation, the same each time, as `StreamSource.plain`."""
        chosen = np.random.default_rng(0).permutation(len(self.images))[:most]
        for start in range(0, len(chosen), DEFAULT_BATCH_SIZE):
            part = np.sort(chosen)[start : start + DEFAULT_BATCH_SIZE]
            yield self.images[part], None if self.labels is None else self.labels[part]
