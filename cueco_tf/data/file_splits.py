"""Images on disk, decoded as they stream: memory holds a few batches, whatever their number."""

import dataclasses
import hashlib
import math
import os

import numpy as np
import tensorflow as tf

from cueco_tf.data import image_files, order, views
from cueco_tf.data.copies import NO_COPIES, PLAIN, VIEWS, Copies
from cueco_tf.data.decoding import Decoder
from cueco_tf.data.labels import UNLABELLED
from cueco_tf.data.members import States, place
from cueco_tf.data.reading import AS_STORED, Reading
from cueco_tf.data.splits import Split

# An image's copy by the side of its views: crops of 44 % of its area or more lose nothing.
_COPY = 1.5


@dataclasses.dataclass(frozen=True)
class FileSplit(Split):
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
    reading: Reading = AS_STORED
    copies: Copies = NO_COPIES

    @classmethod
    def of(cls, found, labels, image_size, reading=AS_STORED):
        """Makes a split of a `Scan` with sizes."""
        widths, heights = found.sizes.T
        aspects = (heights / widths).astype(np.float32)
        own = int(np.median(np.maximum(widths, heights)))
        copy_size = min(math.ceil(_COPY * image_size), own)
        return cls(found.paths, aspects, labels, image_size, copy_size, reading)

    def __len__(self):
        return len(self.paths)

    @property
    def channels(self):
        """How many numbers a pixel has."""
        return self.reading.settled().channels

    @property
    def depth(self):
        """Bits of such a number: 8, or 16 in float32."""
        return self.reading.settled().depth

    def fingerprint(self):
        """A hash of the files' names below their common folder, sizes in bytes, and labels."""
        # What the first and the last have in common all have, and it takes no list of all parts.
        ends = (end(map(os.path.abspath, self.paths)) for end in (min, max))
        root = os.path.commonpath(ends)
        labels = [None] * len(self) if self.labels is None else self.labels.tolist()
        digest, state = hashlib.sha256(), States()
        for path, label in zip(self.paths, labels, strict=True):
            known = (os.path.relpath(path, root), state(path).size, label)
            digest.update(f"{known}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def identity(self):
        """A hash of all that the pixels depend on: where files lie, their sizes, when they changed,
        and how they are read."""
        digest, state = hashlib.sha256(f"{self.reading}\n".encode()), States()
        for path in self.paths:
            known = (*place(path), *state(path))
            digest.update(f"{known}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    @property
    def shapes(self):
        """The shape of an image's copy of each kind (`data.copies`)."""
        sizes = {VIEWS: self.copy_size, PLAIN: self.image_size}
        return {kind: (size, size, self.channels) for kind, size in sizes.items()}

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
        boxes = np.broadcast_to(np.float32([0, 0, 1, 1]), (len(self), 4))
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
        """The central crop of each image, in order: batches `(n, size, size, channels)`, of
        `reading`.

        Raises:
            OSError: for an image that cannot be read, so that results never lose their order.
        """
        boxes = image_files.central_boxes(self.aspects)
        kept = self.copies.plain
        decoder = Decoder(self.paths, boxes, self.image_size, self.reading, kept, strict=True)
        indices = tf.data.Dataset.range(len(self)).batch(batch_size)
        return indices.map(lambda index: decoder(index)[0], num_parallel_calls=2).prefetch(2)
