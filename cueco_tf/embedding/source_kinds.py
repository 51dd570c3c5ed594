"""The kinds of sources: image files, an `.npy` array, a data set in memory.

A source has a length, a name for each image, and hands out blocks of them as arrays. It can be cut
into ranges, which are sources, of which the images keep their names.
"""

import copy
import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cueco_tf.data import image_files
from cueco_tf.data.scan import Scan

_NAMES_AT_ONCE = 65_536


class SourceError(ValueError):
    """The images cannot be used; the message says why and what to do."""


@dataclasses.dataclass
class FileSource:
    """Image files, cut to their central square.

    Args:
        paths: sequence of strings.
        image_size: integer.
        crop: float in (0, 1].
        reading: `Reading`. Defaults to pixels as they are stored.
        scan: `Scan` that found them, or None.
    """

    paths: Sequence
    image_size: int
    crop: float
    reading: image_files.Reading = image_files.AS_STORED
    scan: Scan | None = None

    def __len__(self):
        return len(self.paths)

    def name(self, i):
        """The path of image i, as it was given."""
        return self.paths[i]

    def cut(self, start, stop):
        """The images of a range, as a source."""
        return dataclasses.replace(self, paths=self.paths[start:stop])

    def list_fingerprint(self):
        """Changes with the list alone."""
        digest = hashlib.sha256()
        for start in range(0, len(self), _NAMES_AT_ONCE):
            names = "".join(f"{path}\0" for path in self.paths[start : start + _NAMES_AT_ONCE])
            digest.update(names.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def fingerprint(self):
        """Changes with the list, and with the size or the time of any file."""
        digest = hashlib.sha256(f"{self.image_size} {self.crop} {self.reading}".encode())
        for path in self.paths:
            try:
                state = Path(path).stat()
            except OSError:
                state = None
            known = (path, state and state.st_size, state and state.st_mtime_ns)
            digest.update(repr(known).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def load(self, start, stop):
        """Decodes the images of a range.

        Returns:
            `(images, kept, skipped)`: uint8 `(kept, image_size, image_size, 3)`; the list of the
            numbers of those that could be read; a list of `(name, reason)` of the others.
        """
        images, kept, skipped = [], [], []
        how = self.image_size, self.crop, self.reading
        for i in range(start, stop):
            try:
                images.append(image_files.central_crop(self.paths[i], *how))
                kept.append(i)
            except Exception as error:  # a damaged file can make a decoder raise anything
                skipped.append((self.paths[i], image_files.reason(error)))
        shape = (0, self.image_size, self.image_size, 3)
        return np.stack(images) if images else np.empty(shape, np.uint8), kept, skipped


class _Arrays:
    """Images that are held as arrays, of pixels as the encoder takes them.

    They are those from `_range[0]` to `_range[1]` of an array that is called `_title`.
    """

    reading = scan = None

    def __len__(self):
        return self._range[1] - self._range[0]

    def name(self, i):
        """TITLE#i."""
        return f"{self._title}#{self._range[0] + i}"

    def cut(self, start, stop):
        """The images of a range, as a source, by their old names."""
        part = copy.copy(self)
        part._range = self._range[0] + start, self._range[0] + stop
        return part

    def list_fingerprint(self):
        """Changes with the array's name and the number of images."""
        return hashlib.sha256(f"{self._title} {self._range}".encode()).hexdigest()


class ArrayFile(_Arrays):
    """An `.npy` file, read a block at a time.

    Args:
        path: of an array, uint8 `(n, image_size, image_size, 3)`.
        image_size: integer.

    Raises:
        SourceError: for any other array.
    """

    def __init__(self, path, image_size):
        self.path = path
        try:
            array = np.lib.format.open_memmap(path, mode="r")
        except (ValueError, OSError, EOFError) as error:
            raise SourceError(f"{path} is not an array that can be read: {error}") from error
        wanted = (image_size, image_size, 3)
        if array.ndim != 4 or array.shape[1:] != wanted or array.dtype != np.uint8:
            raise SourceError(
                f"{path} should hold uint8 images of shape (n, {image_size}, {image_size}, 3), as "
                f"the encoder takes them. Received: {array.dtype} of shape {array.shape}. Resize "
                f"them first, or give the image files themselves."
            )
        if not len(array) or not array.flags.c_contiguous:
            raise SourceError(f"{path} should hold at least one image, in C order.")
        self._shape, self._offset = array.shape, array.offset
        self._title, self._range = str(path), (0, len(array))

    def fingerprint(self):
        """Changes with the file's path, shape, size or time."""
        state = self.path.stat()
        known = (self._title, self._shape, self._range, state.st_size, state.st_mtime_ns)
        return hashlib.sha256(repr(known).encode()).hexdigest()

    def load(self, start, stop):
        """Reads the images of a range: see `FileSource.load`.

        Raises:
            OSError: when the file cannot be read any more.
        """
        # A memory map would count all that was ever read as memory of this process.
        size = int(np.prod(self._shape[1:]))
        kept = list(range(start, stop))
        start, stop = (self._range[0] + i for i in (start, stop))
        offset = self._offset + start * size
        block = np.fromfile(self.path, np.uint8, (stop - start) * size, offset=offset)
        return block.reshape(-1, *self._shape[1:]), kept, []


class DatasetArray(_Arrays):
    """A split of a data set that is held in memory.

    Args:
        name: of the data set and the split.
        images: uint8 `(n, image_size, image_size, 3)`.
    """

    def __init__(self, name, images):
        self._images = images
        self._title, self._range = name, (0, len(images))

    def fingerprint(self):
        """Changes with the name and the number of images: published sets keep their content."""
        return self.list_fingerprint()

    def load(self, start, stop):
        """The images of a range: see `FileSource.load`; none is ever skipped."""
        first = self._range[0]
        return self._images[first + start : first + stop], list(range(start, stop)), []
