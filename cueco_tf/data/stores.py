"""Stores of small copies of images, one picture an image: in memory, or in files.

A copy is a function of its image's file, so training does not depend on whether it is found or made
anew, nor on which process made it.
"""

import contextlib
import json
import math
import os
import shutil
import time
import warnings
import zlib

import numpy as np

from cueco_tf.ownership import InUseError, own
from cueco_tf.storage import write_atomically

_THERE = 1 << 32  # beside a row's checksum: that there is one
_ROWS, _CHECKS, _ABOUT = "rows", "checks", "about.json"
_CHECK = "<u8"
_LOOK_AGAIN, _LOOKS = 0.1, 100  # at a folder that another process makes: seconds, and how often


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
        self._length = math.prod(shape) * np.dtype(dtype).itemsize
        self._held, given = contextlib.ExitStack(), (count, shape, dtype)
        try:
            self._writes = self._own(path, given)
            _wait(path, given)
            self._writes &= all(os.access(path / name, os.W_OK) for name in (_ROWS, _CHECKS))
            self._rows = os.open(path / _ROWS, os.O_RDWR if self._writes else os.O_RDONLY)
            self._held.callback(os.close, self._rows)
            mode = "r+" if self._writes else "r"
            self._checks = np.memmap(path / _CHECKS, _CHECK, mode, shape=(count,))
        except InUseError:
            raise
        except (OSError, ValueError) as error:
            self.close()
            raise CacheError(f"No copies can be kept in {path}: {error}") from error
        self._sound = np.zeros(count, bool)  # those whose checksum this process has compared

    def _own(self, path, given):
        """Whether this process owns the folder, which is made where it is not there."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._held.enter_context(own(path))
        except InUseError:
            return False
        except PermissionError:
            if is_made(path, *given):  # by another user
                return False
            raise
        if not is_made(path, *given):
            _make(path, *given)
        return True

    def read(self, i, row):
        """As `Nowhere.read`; a copy that is not what it was when it was written is none."""
        check = int(self._checks[i])
        try:
            if not check or os.preadv(self._rows, [row], int(i) * self._length) != self._length:
                return False
        except OSError:  # of a disk that fails, or is no longer there
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


def size_of(count, shape, dtype):
    """The bytes that so many copies take, with a checksum each."""
    return count * (math.prod(shape) * np.dtype(dtype).itemsize + np.dtype(_CHECK).itemsize)


def is_made(path, count, shape, dtype):
    """Whether a folder holds such copies, or is ready to."""
    try:
        sizes = [(path / name).stat().st_size for name in (_ROWS, _CHECKS)]
        known = json.loads((path / _ABOUT).read_text())
    except (OSError, ValueError):
        return False
    return known == _about(count, shape, dtype) and sum(sizes) == size_of(count, shape, dtype)


def _about(count, shape, dtype):
    return {"format": 1, "images": count, "shape": list(shape), "dtype": np.dtype(dtype).str}


def _make(path, count, shape, dtype):
    """Makes such a folder anew, in the place of one that is damaged or half made."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    checks = count * np.dtype(_CHECK).itemsize
    try:
        for name, size in ((_ROWS, size_of(count, shape, dtype) - checks), (_CHECKS, checks)):
            with open(path / name, "wb") as file:
                _reserve(file, size)
    except OSError:
        shutil.rmtree(path, ignore_errors=True)
        raise
    text = json.dumps(_about(count, shape, dtype))
    write_atomically(path / _ABOUT, lambda part: part.write_text(text))


def _wait(path, given):
    """Waits for another process to make a folder, which takes a moment.

    Raises:
        InUseError: where it takes longer.
    """
    for _ in range(_LOOKS):
        if is_made(path, *given):
            return
        time.sleep(_LOOK_AGAIN)
    raise InUseError(f"{path} is being made by another process.")


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
