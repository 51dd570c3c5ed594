"""Small images for the page: read from where they are, set on one sheet, encoded as WebP.

Images of other channels than three are shown as `data.channels.as_picture` says.
"""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from cueco_tf.data import image_files
from cueco_tf.data.channels import as_picture
from cueco_tf.data.listings import image_named
from cueco_tf.data.pixels import to_pixels
from cueco_tf.data.reading import Reading
from cueco_tf.export.reading import cores, map_in_order

LARGEST_SIDE = 64
_QUALITY = 75
_MISSING = 224  # the gray of an image that is not there any more


class SplitPictures:
    """The images of a split of `cueco_tf.data`."""

    def __init__(self, split):
        self._split = split
        self.side = min(split.image_size, LARGEST_SIDE)

    def load(self, indices, side):
        """Yields the images of the indices in order, uint8 `(side, side, 3)`."""
        for batch in self._split.take(indices).plain_batches():
            for image in as_picture(batch.numpy()):
                yield image if len(image) == side else resize(image, side)


class NamedPictures:
    """Images by what a file of embeddings calls them: image files, also within archives, and rows
    of `.npy` arrays.

    Args:
        names: strings, `(n,)`: paths, PATH.npy#ROW, or as `listings.image_named` takes them.
        reading: a dict, how files are read: the arguments of `Reading`. Defaults to as stored.
    """

    def __init__(self, names, reading=None):
        self._names, self._arrays = names, {}
        self._reading = Reading(**reading or {})
        first = next((image for i in range(min(len(names), 8)) if (image := self._row(i))), None)
        self.side = LARGEST_SIDE if first is None else min(first.width, LARGEST_SIDE)

    def load(self, indices, side):
        """Yields the images of the indices in order, uint8 `(side, side, 3)`; a gray square for
        one that is not there any more, or of a data set by its name."""
        yield from map_in_order(lambda i: self._read(i, side), indices, cores())

    def check_files(self):
        """Raises ValueError where an image is neither a file nor a row of an `.npy` array."""
        for name in self._names:
            path, _, _ = str(name).rpartition("#")
            if not Path(str(name)).is_file() and not (
                path.endswith(".npy") and Path(path).is_file()
            ):
                raise ValueError(
                    f"{name} is neither an image file nor a row of an .npy array (any more), so it "
                    f"cannot be put into a folder."
                )

    def original(self, i):
        """The row of an array, uint8 `(height, width, 3)`."""
        return np.asarray(self._row(i))

    def square(self, i, side):
        """The central square of an image, or the row of an array as it is: uint8
        `(height, width, 3)`; None for one that is not there any more, or of a data set by its
        name."""
        try:
            row = self._row(i)
            if row is not None:
                return np.asarray(row)
            image = image_named(str(self._names[i]))
            return as_picture(image_files.central_crop(image, side, 1.0, self._reading))
        except Exception:  # a damaged file can make a decoder raise anything
            return None

    def _read(self, i, side):
        image = self.square(i, side)
        if image is None:
            return np.full((side, side, 3), _MISSING, np.uint8)
        return image if image.shape[:2] == (side, side) else resize(image, side)

    def _row(self, i):
        """The image of a row of an array, None for what is none (any more)."""
        path, _, row = str(self._names[i]).rpartition("#")
        if not path.endswith(".npy") or not Path(path).is_file():
            return None
        try:
            if path not in self._arrays:
                self._arrays[path] = np.load(path, mmap_mode="r", allow_pickle=False)
            image = self._arrays[path][int(row)]
            if image.dtype == np.uint16:
                image = to_pixels(image, self._reading.range_of(16), np.uint8)
            return Image.fromarray(as_picture(image))
        except (OSError, ValueError, IndexError, TypeError):
            return None


def read(pictures, indices, pixels):
    """Reads images at thumbnail size.

    Args:
        pictures: `SplitPictures` or `NamedPictures`.
        indices: array of any shape.
        pixels: integer, the area that all of them may take together; they never grow beyond their
            own size, nor beyond 64 pixels a side.

    Returns:
        uint8 `(*indices.shape, side, side, 3)`.
    """
    indices = np.asarray(indices)
    side = max(1, int(min(pictures.side, (pixels / max(indices.size, 1)) ** 0.5)))
    images = np.empty((indices.size, side, side, 3), np.uint8)
    for place, image in enumerate(pictures.load(indices.ravel(), side)):
        images[place] = image
    return images.reshape(*indices.shape, side, side, 3)


def resize(image, side):
    """An image, PIL's or uint8 `(height, width, 3)`, as uint8 `(side, side, 3)`."""
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    return np.asarray(image.resize((side, side), Image.Resampling.LANCZOS))


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
