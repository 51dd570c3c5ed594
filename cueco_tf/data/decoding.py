"""Image files decoded in parallel, from within a `tf.data` pipeline."""

import concurrent.futures
import re
import warnings

import numpy as np
import tensorflow as tf

from cueco_tf.data import image_files


class Decoder:
    """Decodes a box of each image of a batch in parallel, from within a `tf.data` pipeline.

    Args:
        paths: `(n,)` strings.
        boxes: `(n, 4)`, top, left, bottom, right as parts of the images' heights and widths.
        size: integer, height and width to bring the boxes to.
        reading: `Reading`.
        kept: where what was decoded is kept and found: a store of `copies`.
        strict: whether an image that cannot be read is an error, or left out with a warning.
    """

    def __init__(self, paths, boxes, size, reading, kept, strict=False):
        self.paths = paths
        self.boxes = boxes
        self.size = size
        self.reading = reading.settled()
        self.kept = kept
        self.strict = strict
        self._shape = (size, size, self.reading.channels)
        self.failed = set()
        self.pool = concurrent.futures.ThreadPoolExecutor(image_files.WORKERS)

    def __call__(self, index):
        """`index` `(batch,)` gives `(readable, size, size, channels)` and a mask of those,
        `(batch,)`."""
        dtypes = self.reading.dtype, tf.bool
        images, readable = tf.numpy_function(self._decode, (index,), dtypes)
        images.set_shape((None, *self._shape))
        readable.set_shape((None,))
        return images, readable

    def _decode(self, index):
        images = np.empty((len(index), *self._shape), self.reading.dtype)
        # Several at a time: to hand over one takes as long as to find one that is kept.
        places = np.array_split(np.arange(len(index)), min(len(index), 2 * image_files.WORKERS))
        parts = self.pool.map(lambda some: [self._put(index[k], images[k]) for k in some], places)
        readable = np.array([each for part in parts for each in part])
        if not readable.any():
            raise OSError(
                f"Not one image of a batch can be read any more, such as {self.paths[index[0]]}"
            )
        return images if readable.all() else images[readable], readable

    def _put(self, i, row):
        """Puts an image into a row; whether it could be read."""
        if self.kept.read(i, row):
            return True
        path = self.paths[i]
        try:
            row[...] = image_files.crop(path, self.boxes[i], self.size, self.reading)
        except Exception as error:  # a damaged file can make a decoder raise anything
            if self.strict:
                raise OSError(f"Cannot read {path}: {image_files.reason(error)}") from error
            if path not in self.failed:
                self.failed.add(path)
                warnings.warn(f"Skipped {path}: {image_files.reason(error)}", stacklevel=2)
            return False
        self.kept.write(i, row)
        return True


def in_one_line(error):
    """What a `tf.errors.OpError` says, without its trace: our own words, where a file could not be
    read, or a label was refused, while they streamed."""
    own = re.search(r"(?:OSError|ValueError): (.*)", error.message)
    return own[1] if own else re.sub(r"^\{\{.*?\}\} ", "", error.message.splitlines()[0])
