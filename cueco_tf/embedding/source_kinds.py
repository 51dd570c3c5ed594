"""The kinds of sources: image files, an `.npy` array, a data set in memory.

A source has a length, a name for each image, and hands out blocks of them as arrays. It can be cut
into ranges, which are sources, of which the images keep their names.
"""

import copy
import dataclasses
import functools
import hashlib
from collections.abc import Sequence

import numpy as np

from cueco_tf.data import image_files, members
from cueco_tf.data.pixels import to_pixels
from cueco_tf.data.reading import AS_STORED, Reading
from cueco_tf.data.stacks import bits_of
from cueco_tf.data.taken import Scan
from cueco_tf.embedding.tables import STATE_DTYPE

_NAMES_AT_ONCE = 65_536
_new_hash = functools.partial(hashlib.blake2b, digest_size=STATE_DTYPE["hashes"].itemsize)


class SourceError(ValueError):
    """The images cannot be used; the message says why and what to do."""


@dataclasses.dataclass
class FileSource:
    """Image files, cut to their central square.

    Args:
        paths: sequence of strings, or of `Member`s of other files.
        image_size: integer.
        crop: float in (0, 1].
        reading: `Reading`. Defaults to pixels as they are stored.
        scan: `Scan` that found them, or None.
    """

    paths: Sequence
    image_size: int
    crop: float
    reading: Reading = AS_STORED
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
                state = members.state(path)
            except OSError:
                state = (None, None)
            known = (str(path), *state)
            digest.update(repr(known).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def states(self, numbers, hashes=True):
        """What tells whether images have changed.

        Args:
            numbers: sequence of integers.
            hashes: whether to read the files for their hashes, which are 0 otherwise. Defaults to
                True.

        Returns:
            `(n,)` of `tables.STATE_DTYPE`; `sizes` is -1 for a file that cannot be read.
        """
        states = np.zeros(len(numbers), STATE_DTYPE)
        for row, i in enumerate(numbers):
            try:
                state = members.state(self.paths[i])
                if hashes:
                    digest = members.digest(self.paths[i], _new_hash)
                    states["hashes"][row] = np.frombuffer(digest, np.uint8)
                states["sizes"][row], states["mtimes_ns"][row] = state
            except (OSError, ValueError):
                states["sizes"][row] = -1
        return states

    def load(self, numbers):
        """Decodes images.

        Args:
            numbers: ascending integers.

        Returns:
            `(images, kept, skipped)`: `(kept, image_size, image_size, channels)`; the list of the
            numbers of those that could be read; a list of `(name, reason)` of the others.
        """
        images, kept, skipped = [], [], []
        reading = self.reading.settled()
        how = self.image_size, self.crop, reading
        for i in numbers:
            try:
                images.append(image_files.central_crop(self.paths[i], *how))
                kept.append(i)
            except Exception as error:  # a damaged file can make a decoder raise anything
                skipped.append((self.paths[i], image_files.reason(error)))
        shape = (0, self.image_size, self.image_size, reading.channels)
        return np.stack(images) if images else np.empty(shape, reading.dtype), kept, skipped


class _Arrays:
    """Images that are held as arrays, of pixels as the encoder takes them.

    They are those from `_range[0]` to `_range[1]` of an array called `_title`, of `_bytes` each.
    `reading` says how they become such pixels, None where they are.
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

    def states(self, numbers, hashes=True):
        """As in `FileSource`, of an image's pixels, with the time of the array's file."""
        states = np.zeros(len(numbers), STATE_DTYPE)
        states["sizes"], states["mtimes_ns"] = self._bytes, self._mtime_ns()
        if hashes:
            for state, image in zip(states, self._pixels(numbers), strict=True):
                digest = _new_hash(np.ascontiguousarray(image)).digest()
                state["hashes"] = np.frombuffer(digest, np.uint8)
        return states

    def load(self, numbers):
        """The images of ascending numbers: see `FileSource.load`; none is ever skipped.

        Raises:
            OSError: when a file cannot be read any more.
        """
        return self._pixels(numbers), list(numbers), []


class ArrayFile(_Arrays):
    """An `.npy` file, read a block at a time.

    Args:
        path: of an array `(n, image_size, image_size, channels)`: uint8 pixels; for a reading of 16
            bits float32 ones from 0 to 255, or uint16 ones, which are read as in training.
        image_size: integer.
        reading: `Reading`. Defaults to pixels as they are stored.

    Raises:
        SourceError: for any other array.
    """

    def __init__(self, path, image_size, reading=AS_STORED):
        self.path, self._how = path, reading.settled()
        try:
            array = np.lib.format.open_memmap(path, mode="r")
        except (ValueError, OSError, EOFError) as error:
            raise SourceError(f"{path} is not an array that can be read: {error}") from error
        wanted = (image_size, image_size, self._how.channels)
        kinds = ("float32", "uint16") if self._how.depth == 16 else ("uint8",)
        if array.ndim != 4 or array.shape[1:] != wanted or array.dtype.name not in kinds:
            shape = f"(n, {', '.join(map(str, wanted))})"
            raise SourceError(
                f"{path} should hold {' or '.join(kinds)} images of shape {shape}, as the encoder "
                f"takes them. Received: {array.dtype} of shape {array.shape}. Resize them first, "
                f"or give the image files themselves."
            )
        if not len(array) or not array.flags.c_contiguous:
            raise SourceError(f"{path} should hold at least one image, in C order.")
        self._shape, self._offset, self._dtype = array.shape, array.offset, array.dtype
        self._title, self._range = str(path), (0, len(array))
        self._bytes = array[0].nbytes
        self.reading = None if self._dtype == self._how.dtype else self._how

    def fingerprint(self):
        """Changes with the file's path, shape, size or time, and with how pixels are read."""
        known = self._title, self._shape, self._range, self.reading, members.state(self.path)
        return hashlib.sha256(repr(known).encode()).hexdigest()

    def _mtime_ns(self):
        return self.path.stat().st_mtime_ns

    def _pixels(self, numbers):
        if not len(numbers):
            return np.empty((0, *self._shape[1:]), self._how.dtype)
        # A memory map would count all that was ever read as memory of this process.
        start, count = self._range[0] + numbers[0], numbers[-1] + 1 - numbers[0]
        offset = self._offset + start * self._bytes
        count *= self._bytes // self._dtype.itemsize
        block = np.fromfile(self.path, self._dtype, count, offset=offset)
        block = block.reshape(-1, *self._shape[1:])[np.asarray(numbers) - numbers[0]]
        if self.reading is None:
            return block
        return to_pixels(block, self._how.range_of(bits_of(self._dtype)), self._how.dtype)


class DatasetArray(_Arrays):
    """A split of a data set that is held in memory.

    Args:
        name: of the data set and the split.
        images: `(n, image_size, image_size, channels)`.
        known: the split's own fingerprint, as hex.
    """

    def __init__(self, name, images, known):
        self._images, self._known = images, known
        self._title, self._range = name, (0, len(images))
        self._bytes = images[0].nbytes

    def fingerprint(self):
        """Changes with the name, the number of images and the split's own fingerprint."""
        return hashlib.sha256(f"{self.list_fingerprint()} {self._known}".encode()).hexdigest()

    def _mtime_ns(self):
        return int(self._known[:15], 16)  # no time, but what changes with the split

    def _pixels(self, numbers):
        return self._images[self._range[0] + np.asarray(numbers, np.int64)]
