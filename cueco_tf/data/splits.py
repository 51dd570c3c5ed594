"""What a data set is made of: splits in memory and on disk.

Both know how to make the training views of any step and the plain images for evaluation. Images on
disk stay files, decoded and cropped as they stream: memory holds a few batches, whatever their
number.
"""

import dataclasses
import hashlib
import math
import os

import numpy as np
import tensorflow as tf

from cueco_tf.data import image_files, order, views
from cueco_tf.data.copies import NO_COPIES, Copies
from cueco_tf.data.decoding import Decoder
from cueco_tf.data.labels import UNLABELLED
from cueco_tf.data.members import state
from cueco_tf.data.taken import Scan

SMALL = 64  # pixels: up to here a set of arrays is held in memory, above it is streamed
LARGE_SIZE = 224  # the size to train at above it, unless told otherwise
# An image's copy by the side of its views: crops of 44 % of its area or more lose nothing.
_COPY = 1.5


class DataError(ValueError):
    """The data set is unknown, missing or unusable; the message says what to do."""


class _Split:
    """What both kinds of split can do."""

    def sample(self, count, seed=0):
        """A random part of the split, the same for the same seed."""
        if count >= len(self):
            return self
        return self.take(np.sort(np.random.default_rng(seed).permutation(len(self))[:count]))

    def labelled(self):
        """The images whose labels are known: those that can be scored."""
        if self.labels is None or (self.labels != UNLABELLED).all():
            return self
        return self.take(np.flatnonzero(self.labels != UNLABELLED))


@dataclasses.dataclass(frozen=True)
class ArraySplit(_Split):
    """Images in memory: `images` uint8 `(n, size, size, 3)`, `labels` int32 `(n,)` or None;
    `origin` is the sha256 of the file that they come from, `""` for a published set."""

    images: np.ndarray
    labels: np.ndarray | None
    origin: str = ""

    def __len__(self):
        return len(self.images)

    @property
    def image_size(self):
        """Height and width of an image, in pixels."""
        return self.images.shape[1]

    def training_batches(self, batch_size, augment, seed, first_step, part=views.WHOLE):
        """Endless `((view1, view2), labels)` batches from `first_step` on; of each only `part` is
        made (see `views`)."""
        return views.from_arrays(
            self.images, self.labels, batch_size, augment, seed, first_step, part
        )[0]

    def plain_batches(self, batch_size=256):
        """The images without augmentation, in order: uint8 batches."""
        with tf.device("CPU"):
            return tf.data.Dataset.from_tensor_slices(self.images).batch(batch_size).prefetch(2)

    def fingerprint(self):
        """A hash of the number of images, their labels and the file: pixels differ by a rounding
        between processors, and published sets do not change but by their version."""
        labels = b"" if self.labels is None else self.labels.astype("<i4").tobytes()
        return hashlib.sha256(f"{len(self)}\n{self.origin}".encode() + labels).hexdigest()

    def take(self, chosen):
        """The split of the chosen indices."""
        labels = None if self.labels is None else self.labels[chosen]
        return ArraySplit(self.images[chosen], labels, self.origin)


@dataclasses.dataclass(frozen=True)
class FileSplit(_Split):
    """Images on disk.

    `paths` is an `(n,)` array of strings, each as long as it is, or of `Member`s of other files,
    `aspects` float32 `(n,)` (height over width), `labels` int32 `(n,)`, -1 where unknown, or None,
    `image_size` the height and width to train at, `copy_size` those of the square that an image is
    brought to before views are cut out of it, `reading` how files become pixels, `copies` where
    what was decoded is kept.
    """

    paths: np.ndarray
    aspects: np.ndarray
    labels: np.ndarray | None
    image_size: int
    copy_size: int
    reading: image_files.Reading = image_files.AS_STORED
    copies: Copies = NO_COPIES

    @classmethod
    def of(cls, found, labels, image_size, reading=image_files.AS_STORED):
        """Makes a split of a `Scan` with sizes."""
        widths, heights = found.sizes.T
        aspects = (heights / widths).astype(np.float32)
        own = int(np.median(np.maximum(widths, heights)))
        copy_size = min(math.ceil(_COPY * image_size), own)
        return cls(found.paths, aspects, labels, image_size, copy_size, reading)

    def __len__(self):
        return len(self.paths)

    def fingerprint(self):
        """A hash of the files' names below their common folder, sizes in bytes, and labels."""
        # What the first and the last have in common all have, and it takes no list of all parts.
        ends = (end(map(os.path.abspath, self.paths)) for end in (min, max))
        root = os.path.commonpath(ends)
        labels = [None] * len(self) if self.labels is None else self.labels.tolist()
        digest = hashlib.sha256()
        for path, label in zip(self.paths, labels, strict=True):
            known = (os.path.relpath(path, root), state(path).size, label)
            digest.update(f"{known}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def identity(self):
        """A hash of all that the pixels depend on: paths, sizes in bytes, times of change, and how
        files are read."""
        digest = hashlib.sha256(f"{self.reading}\n".encode())
        for path in self.paths:
            known = (str(path), *state(path))
            digest.update(f"{known}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    @property
    def shapes(self):
        """The shapes of an image's copy for views, and for evaluation."""
        return tuple((size, size, 3) for size in (self.copy_size, self.image_size))

    def take(self, chosen):
        """The split of the chosen indices."""
        labels = None if self.labels is None else self.labels[chosen]
        parts = {name: getattr(self, name)[chosen] for name in ("paths", "aspects")}
        return dataclasses.replace(self, labels=labels, copies=self.copies.take(chosen), **parts)

    def training_batches(self, batch_size, augment, seed, first_step, part=views.WHOLE):
        """Endless `((view1, view2), labels)` batches from `first_step` on.

        An image that turns out to be unreadable is left out of its batch, with a warning. Of each
        batch only `part` is decoded (see `views`).
        """
        boxes = np.tile(np.float32([0, 0, 1, 1]), (len(self), 1))
        decoder = Decoder(self.paths, boxes, self.copy_size, self.reading, self.copies.views)
        labels = self.labels
        if labels is None:
            labels = np.full(len(self), UNLABELLED, np.int32)
        size = (self.image_size,) * 2
        with tf.device("CPU"):
            aspects, labels = tf.constant(self.aspects), tf.constant(labels)

        def batch(step):
            index = order.shuffled_indices(step, len(self), batch_size, seed)
            draws = augment.draws(tf.shape(index)[0], (seed, step))
            places, own = views.places_of(part, tf.shape(index)[0])
            copies, kept = decoder(tf.gather(index, places))
            places, own = tf.boolean_mask(places, kept), tf.math.count_nonzero(kept[:own])
            index, draws = tf.gather(index, places), tf.gather(draws, places)
            made = augment.render(copies, draws, tf.gather(aspects, index), size)
            return made, tf.gather(labels, index[:own])

        # Two batches at a time: their images already decode in parallel.
        return order.steps_from(first_step).map(batch, num_parallel_calls=2).prefetch(2)

    def plain_batches(self, batch_size=256):
        """The central crop of each image, in order: uint8 batches.

        Raises:
            OSError: for an image that cannot be read, so that results never lose their order.
        """
        boxes = image_files.central_boxes(self.aspects)
        kept = self.copies.plain
        decoder = Decoder(self.paths, boxes, self.image_size, self.reading, kept, strict=True)
        indices = tf.data.Dataset.range(len(self)).batch(batch_size)
        return indices.map(lambda index: decoder(index)[0], num_parallel_calls=2).prefetch(2)


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """A data set: `train` and `test` splits; `test` is None where there are no labels. `scan` tells
    what was taken from a folder and what was left; None for any other set."""

    name: str
    train: object
    test: object | None
    class_names: tuple | None
    scan: Scan | None = None

    @property
    def num_classes(self):
        """How many classes the labels name, or None where there are none."""
        return None if self.class_names is None else len(self.class_names)


def array_split(images, labels, image_size, origin=""):
    """Brings `(n, height, width, 1 or 3)` images to RGB and to the wanted size."""
    size = image_size or max(images.shape[1:3])
    if images.shape[1:3] != (size, size):
        count = max(1, min(4096, 2**24 // (images.shape[1] * images.shape[2])))
        blocks = (images[i : i + count] for i in range(0, len(images), count))
        resized = [tf.image.resize(block, (size, size), antialias=True).numpy() for block in blocks]
        images = np.clip(np.round(np.concatenate(resized)), 0, 255).astype(np.uint8)
    return ArraySplit(np.repeat(images, 3 // images.shape[-1], axis=-1), labels, origin)
