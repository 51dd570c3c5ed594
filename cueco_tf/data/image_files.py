"""Image files as pixels: decoded upright, cropped. No TensorFlow.

Training, evaluation and the exported encoder all read files through this one module, so the same
file gives the same pixels everywhere. What is gray or in colours is a `photos.Photo`, and channels
of another kind are a `stacks.Stack`.
"""

import contextlib
import os

import numpy as np
from PIL import Image, UnidentifiedImageError

from cueco_tf.data import stacks
from cueco_tf.data.formats import open_image
from cueco_tf.data.members import openable
from cueco_tf.data.photos import Photo
from cueco_tf.data.pillow_limit import PILLOWS_LIMIT
from cueco_tf.data.reading import AS_STORED

# Else Pillow gives each image's memory back to the system, which takes as long as to resize it.
Image.core.set_blocks_max(16)
WORKERS = min(32, 2 * (os.cpu_count() or 1))
EVALUATION_CROP = 0.875  # the share of the shorter side in the usual central test crop, 224 / 256


def examine(path, reading=AS_STORED):
    """Looks into an image: decodes it, a JPEG at an eighth of its size.

    Returns:
        `photos.Look`.

    Raises:
        Exception: of any kind, for a file that is no readable image.
    """
    with _opened(path, reading) as image:
        return image.look()


def reason(error):
    """An exception as one line, for a list of skipped files."""
    if isinstance(error, ValueError):
        return str(error).partition("\n")[0]
    return f"{type(error).__name__}: {error}".splitlines()[0]


def crop(path, box, size, reading=AS_STORED):
    """Decodes one image and cuts a box (top, left, bottom, right; parts of its size) out of it.

    Returns:
        `(size, size, channels)`, of `reading`.
    """
    with _opened(path, reading.settled()) as image:
        return image.cut(box, size)


def central_boxes(aspects, share=EVALUATION_CROP):
    """The central square of images whose heights over widths are given.

    Args:
        aspects: `(n,)`.
        share: float in (0, 1], of the shorter side. Defaults to 0.875.

    Returns:
        float32 `(n, 4)` for `crop`.
    """
    aspects = np.asarray(aspects, np.float32)
    height, width = np.minimum(1.0, 1.0 / aspects) * share, np.minimum(1.0, aspects) * share
    boxes = (0.5 - height / 2, 0.5 - width / 2, 0.5 + height / 2, 0.5 + width / 2)
    return np.stack(boxes, 1).astype(np.float32)


def central_crop(path, size, share=EVALUATION_CROP, reading=AS_STORED):
    """Decodes one image and cuts its central square out: `(size, size, channels)`, of `reading`.

    Raises:
        Exception: of any kind, for a file that is no readable image.
    """
    with _opened(path, reading.settled()) as image:
        width, height = image.size
        return image.cut(central_boxes([height / width], share)[0], size)


@contextlib.contextmanager
def _opened(path, reading):
    """The image in a file, a `Photo` or a `Stack`, held to the limit of pixels."""
    with PILLOWS_LIMIT.of(int(reading.max_megapixels * 1e6)):
        try:
            content = openable(path)
            image = _pillows(content)
            if image is None:
                yield stacks.of_array(content, reading)
                return
            with image:
                yield stacks.of_pages(image, content, reading) or Photo(image, reading)
        except Image.DecompressionBombError as error:
            raise ValueError(
                f"more than {reading.max_megapixels:g} megapixels, the limit of --max-megapixels"
            ) from error


def _pillows(content):
    """The image in a file as Pillow opens it, None for a format that it does not know."""
    try:
        return open_image(content)
    except UnidentifiedImageError:
        return None
