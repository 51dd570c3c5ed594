"""Stores of small copies of images, one picture an image: in memory, or in files.

A copy is a function of its image's file, so training does not depend on whether it is found or made
anew, nor on which process made it.
"""

import contextlib
import json
import math
import os
import shutil
import warnings
import zlib

import numpy as np

from cueco_tf.ownership import InUseError, own
from cueco_tf.storage import free_space, write_atomically

_THERE = 1 << 32  # beside a row's checksum: that there is one


class CacheError(ValueError):
    """Copies cannot be kept where the user wants them; the message says what to do."""


class Nowhere:
    """Keeps nothing: a copy is made whenever it is wanted."""

    def read(self, i, row):
        """Puts the copy of image `i` into `row`, an array; returns whether there is one."""
        return False

    def write(self, i, row):
        """Keeps the copy of image `i`."""


class Memory:
    """Copies in memory, which is taken as they come.

    Args:
        count: integer, the images.
        shape, dtype: of a copy.
    """

    def __init__(self, count, shape, dtype=np.uint8):
        self._rows = np.empty((count, *shape), dtype)
        self._there = np.zeros(count, bool)

    def read(self, i, row):
        """As `Nowhere.read`."""
        if self._there[i]:
            row[...] = self._rows[i]
        return self._there[i]

    def write(self, i, row):
        """As `Nowhere.write`."""
        self._rows[i] = row
        self._there[i] = True


class Folder:
    """Copies in a folder: `rows`, one after the other, and `checks`, a checksum of each.

    One process at a time adds to them; others read what is there. The disk's space is taken at
    once, so that it does not run out on the way.

    Args:
        path: of the folder, for these images alone.
        count: integer, the images.
        shape, dtype: of a copy.

    Raises:
        InUseError: where another process has not yet made the folder.
        CacheError: for a folder that cannot be made or used, or a disk without the space.
    """

    def __init__(self, path, count, shape, dtype=np.uint8):
        dtype = np.dtype(dtype)
        self._length = math.prod(shape) * dtype.itemsize
        self._about = {"format": 1, "images": count, "shape": list(shape), "dtype": dtype.str}
        self._held = contextlib.ExitStack()
        try:
            self._writes = self._own(path)
            if self._writes:
                self._make(path)
            elif not self._is_made(path):
                raise InUseError(f"{path} is being made by another process.")
            self._rows = os.open(path / "rows", os.O_RDWR if self._writes else os.O_RDONLY)
            self._held.callback(os.close, self._rows)
            mode = "r+" if self._writes else "r"
            self._checks = np.memmap(path / "checks", "<u8", mode, shape=(count,))
        except InUseError:
            raise
        except (OSError, ValueError) as error:
            self.close()
            raise CacheError(f"No copies can be kept in {path}: {error}") from error
        self._sound = np.zeros(count, bool)  # those whose checksum this process has compared

    def _own(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._held.enter_context(own(path))
        except InUseError:
            return False
        return True

    def _is_made(self, path):
        try:
            return json.loads((path / "about.json").read_text()) == self._about
        except (OSError, ValueError):
            return False

    def _make(self, path):
        if self._is_made(path):
            return
        shutil.rmtree(path, ignore_errors=True)
        needed = self._about["images"] * (self._length + 8)
        free = free_space(path)
        if needed > free:
            raise OSError(
                f"they need {in_bytes(needed)}, and the disk has {in_bytes(free)} left. Choose "
                f"another --cache DIR, or --cache none"
            )
        path.mkdir()
        for name, size in (("rows", self._length), ("checks", 8)):
            with open(path / name, "wb") as file:
                _reserve(file, self._about["images"] * size)
        text = json.dumps(self._about)
        write_atomically(path / "about.json", lambda part: part.write_text(text))

    def read(self, i, row):
        """As `Nowhere.read`; a copy that is not what it was when it was written is none."""
        check = int(self._checks[i])
        if not check or os.preadv(self._rows, [row], int(i) * self._length) != self._length:
            return False
        if not self._sound[i]:
            self._sound[i] = zlib.crc32(row) | _THERE == check
        return self._sound[i]

    def write(self, i, row):
        """As `Nowhere.write`, for the process that owns the folder."""
        if self._writes:
            try:
                os.pwrite(self._rows, row, int(i) * self._length)
            except OSError as error:
                self._writes = False
                warnings.warn(f"No more copies are kept: {error}", stacklevel=2)
                return
            self._checks[i] = zlib.crc32(row) | _THERE

    def close(self):
        """Lets other processes add to the folder."""
        self._held.close()


def _reserve(file, size):
    """Gives a new file its size, and the disk's space where the system can do so."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)


def in_bytes(count):
    """A number of bytes in words: `"1.4 GB"`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
