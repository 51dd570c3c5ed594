"""A data set that lies on the device that trains, so that a step needs nothing from the host.

The step picks its images by its number, draws and renders their views. What is left to the host is
the order of the images, once an epoch. A compiled step that is handed no tensors also finds
everything where it was: on a GPU its recorded launches are replayed as they are.
"""

import numpy as np
import tensorflow as tf

from cueco_tf.data.labels import UNLABELLED
from cueco_tf.data.late import is_apart
from cueco_tf.data.order import epoch_order
from cueco_tf.data.views import places_of

LARGEST = 4 * 2**30  # bytes: CIFAR takes 150 MB, and the networks need the rest


class Resident:
    """Images on the devices of the strategy that is in force where it is made.

    Args:
        images: uint8 `(n, height, width, 3)` array.
        labels: `(n,)` integers, or None.
        batch_size: integer >= 1, the global one.
        augment: an augmentation with `draws` and `render`, such as `TwoViews`.
        seed: integer.
    """

    def __init__(self, images, labels, batch_size, augment, seed):
        self.images, self.labels, self.order = (
            tf.Variable(value, trainable=False)
            for value in (images, _known(labels, len(images)), np.arange(len(images)))
        )
        self.batch_size, self.augment, self.seed = batch_size, augment, seed
        self.steps_per_epoch = -(-len(images) // batch_size)
        self.last_size = len(images) - (self.steps_per_epoch - 1) * batch_size
        self._epoch = None  # that of the order

    def refill(self, images, labels, *others):
        """Takes other images in, or the same after a change, where they fit in the place of those
        that are there: a step that is compiled stays as it is.

        Args:
            images, labels, *others: the arguments that it would be made of.

        Returns:
            Whether it has done so.
        """
        fits = self.images.shape == images.shape
        if not fits or (self.batch_size, self.augment, self.seed) != others:
            return False
        self.images.assign(images)
        self.labels.assign(_known(labels, len(images)))
        return True

    def epochs_of(self, first, count):
        """Walks through steps epoch by epoch, and has the order of each ready.

        Args:
            first: integer, the number of the first step.
            count: integer, how many.

        Yields:
            `(place, count)`: steps of one epoch, the first of them its `place`-th.
        """
        while count:
            epoch, place = divmod(first, self.steps_per_epoch)
            if epoch != self._epoch:
                with tf.device("CPU"):
                    self.order.assign(epoch_order(epoch, self.order.shape[0], self.seed))
                self._epoch = epoch
            some = min(count, self.steps_per_epoch - place)
            yield place, some
            first, count = first + some, count - some

    def batch(self, step, size):
        """What this replica makes of a batch: the batches of `views.from_arrays`, to rounding.

        Args:
            step: int64 scalar, its number.
            size: integer, its images on all replicas; `last_size` for the last of an epoch.

        Returns:
            `((view1, view2), labels)`, int64.
        """
        context = tf.distribute.get_replica_context()
        start = step % self.steps_per_epoch * self.batch_size
        # A slice's begin would be a constant to XLA, and each step compiled anew.
        index = tf.gather(self.order, start + tf.range(size, dtype=tf.int64))
        draws = self.augment.draws(size, tf.stack([tf.cast(self.seed, tf.int64), step]))
        own_index = index
        if context.num_replicas_in_sync > 1:
            replicas = context.num_replicas_in_sync
            part = context.replica_id_in_sync_group, replicas, replicas
            places, own = places_of(part, size)
            index, draws = tf.gather(index, places), tf.gather(draws, places)
            own_index = index[:own]
        views = self.augment.render(tf.gather(self.images, index), draws)
        return views, tf.gather(self.labels, own_index)


def _known(labels, count):
    return np.full(count, UNLABELLED) if labels is None else np.asarray(labels, np.int64)


def can_reside(images, augment):
    """Whether an array of images may be made a `Resident`."""
    fits = isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.nbytes <= LARGEST
    return fits and is_apart(augment)
