"""What a data set is made of: splits, in memory here and on disk in `file_splits`.

Both know how to make the training views of any step and the plain images for evaluation.
"""

import dataclasses
import hashlib

import numpy as np
import tensorflow as tf

from cueco_tf.data import views
from cueco_tf.data.channels import natural, with_channels
from cueco_tf.data.labels import UNLABELLED
from cueco_tf.data.taken import Scan

SMALL = 64  # pixels: up to here a set of arrays is held in memory, above it is streamed
LARGE_SIZE = 224  # the size to train at above it, unless told otherwise


class DataError(ValueError):
    """The data set is unknown, missing or unusable; the message says what to do."""


class Split:
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
class ArraySplit(Split):
    """Images in memory: `images` `(n, size, size, channels)`, pixels 0 to 255, uint8 or, of deeper
    ones, float32; `labels` int32 `(n,)` or None; `origin` is the sha256 of the file that they come
    from, `""` for a published set."""

    images: np.ndarray
    labels: np.ndarray | None
    origin: str = ""

    def __len__(self):
        return len(self.images)

    @property
    def image_size(self):
        """Height and width of an image, in pixels."""
        return self.images.shape[1]

    @property
    def channels(self):
        """How many numbers a pixel has."""
        return self.images.shape[3]

    @property
    def depth(self):
        """Bits of such a number: 8, or 16 in float32."""
        return 8 if self.images.dtype == np.uint8 else 16

    def training_batches(self, batch_size, augment, seed, first_step, part=views.WHOLE):
        """Endless `((view1, view2), labels)` batches from `first_step` on; of each only `part` is
        made (see `views`)."""
        return views.from_arrays(
            self.images, self.labels, batch_size, augment, seed, first_step, part
        )[0]

    def plain_batches(self, batch_size=256):
        """The images without augmentation, in order: batches of them."""
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
class ImageSet:
    """A data set: `train` and `test` splits; `test` is None where there are no labels. `scan` tells
    what was taken from a folder and what was left; None for any other set."""

    name: str
    train: object
    test: object | None
    class_names: tuple | None
    scan: Scan | None = None

    def facts(self):
        """What `RunConfig.resolve` is told: a dict."""
        known = {name: getattr(self.train, name) for name in ("image_size", "channels", "depth")}
        return {"train_images": len(self.train), "num_classes": self.num_classes, **known}

    @property
    def num_classes(self):
        """How many classes the labels name, or None where there are none."""
        return None if self.class_names is None else len(self.class_names)


def array_split(images, labels, image_size, origin="", channels=None):
    """Brings images `(n, height, width, C)`, uint8 or float32, to the wanted size and channels:
    unless they are told, three where C is 1.

    Raises:
        DataError: for channels that cannot be made of them.
    """
    size = image_size or max(images.shape[1:3])
    if images.shape[1:3] != (size, size):
        count = max(1, min(4096, 2**24 // (images.shape[1] * images.shape[2])))
        resized = np.empty((len(images), size, size, images.shape[3]), images.dtype)
        for i in range(0, len(images), count):
            block = tf.image.resize(images[i : i + count], (size, size), antialias=True)
            block = tf.clip_by_value(block, 0, 255).numpy()
            resized[i : i + count] = np.round(block) if images.dtype == np.uint8 else block
        images = resized
    try:
        images = with_channels(images, channels or natural(images.shape[-1]))
    except ValueError as error:
        raise DataError(f"--channels: the images have {error}.") from error
    return ArraySplit(images, labels, origin)
