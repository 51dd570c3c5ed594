"""Image files decoded in parallel, from within a `tf.data` pipeline."""

import concurrent.futures
import re
import warnings

import numpy as np
import tensorflow as tf

from cueco_tf.data import image_files
from cueco_tf.data.reading import AS_STORED


class Decoder:
    """Decodes the images of a batch in parallel, from within a `tf.data` pipeline."""

    def __init__(self, paths, size, reading=AS_STORED, strict=False):
        self.paths = paths
        self.size = size
        self.reading = reading.settled()
        self.strict = strict
        self.failed = set()
        self.pool = concurrent.futures.ThreadPoolExecutor(image_files.WORKERS)

    def __call__(self, index, boxes):
        """`index` `(batch,)` and `boxes` `(batch, views, 4)` give crops
        `(kept, views, size, size, channels)`, and a mask of those kept, `(batch,)`."""
        dtypes = self.reading.dtype, tf.bool
        crops, kept = tf.numpy_function(self._decode, (index, boxes), dtypes)
        crops.set_shape((None, boxes.shape[1], self.size, self.size, self.reading.channels))
        kept.set_shape((None,))
        return crops, kept

    def _decode(self, index, boxes):
        results = list(self.pool.map(self._try, index, boxes))
        kept = np.array([result is not None for result in results])
        if not kept.any():
            raise OSError(
                f"Not one image of a batch can be read any more, such as {self.paths[index[0]]}"
            )
        return np.stack([result for result in results if result is not None]), kept

    def _try(self, i, boxes):
        path = self.paths[i]
        try:
            return image_files.crops(path, boxes, self.size, self.reading)
        except Exception as error:  # a damaged file can make a decoder raise anything
            if self.strict:
                raise OSError(f"Cannot read {path}: {image_files.reason(error)}") from error
            if path not in self.failed:
                self.failed.add(path)
                warnings.warn(f"Skipped {path}: {image_files.reason(error)}", stacklevel=2)
            return None


def in_one_line(error):
    """What a `tf.errors.OpError` says, without its trace: our own words, where a file could not be
    read, or a label was refused, while they streamed."""
    own = re.search(r"(?:OSError|ValueError): (.*)", error.message)
    return own[1] if own else re.sub(r"^\{\{.*?\}\} ", "", error.message.splitlines()[0])
