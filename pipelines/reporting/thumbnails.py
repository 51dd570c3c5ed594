"""Small images for the page: read from the data set, set on one sheet, encoded as WebP."""

import base64
import io

import numpy as np
from PIL import Image

LARGEST_SIDE = 64
_QUALITY = 75


def read(split, indices, pixels):
    """Reads images at thumbnail size.

    Args:
        split: a split of `cueco_tf.data`.
        indices: array of any shape.
        pixels: integer, the area that all of them may take together; they never grow beyond their
            own size, nor beyond 64 pixels a side.

    Returns:
        uint8 `(*indices.shape, side, side, 3)`.
    """
    indices = np.asarray(indices)
    side = int(min(split.image_size, LARGEST_SIDE, (pixels / max(indices.size, 1)) ** 0.5))
    images = np.empty((indices.size, side, side, 3), np.uint8)
    start = 0
    for batch in split.take(indices.ravel()).plain_batches():
        for image in batch.numpy():
            images[start] = image if len(image) == side else _shrink(image, side)
            start += 1
    return images.reshape(*indices.shape, side, side, 3)


def _shrink(image, side):
    return Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS)


def sheet(images, columns):
    """Sets images side by side, row after row, as one WebP in a data URI.

    Args:
        images: uint8 `(n, side, side, 3)`.
        columns: integer >= 1.

    Returns:
        `"data:image/webp;base64,..."`.
    """
    side, rows = images.shape[1], -(-len(images) // columns)
    blank = rows * columns - len(images)
    if blank:  # what is left over in the last row is clear
        images = np.pad(images, [(0, 0)] * 3 + [(0, 1)], constant_values=255)
        images = np.pad(images, [(0, blank)] + [(0, 0)] * 3)
    whole = images.reshape(rows, columns, *images.shape[1:]).swapaxes(1, 2)
    file = io.BytesIO()
    whole = Image.fromarray(whole.reshape(rows * side, columns * side, -1))
    whole.save(file, "WEBP", quality=_QUALITY)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
