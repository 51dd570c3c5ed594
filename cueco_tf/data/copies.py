"""Small copies of images, each made once: kept in memory, or in a folder that outlives the process.

A copy is a function of its image's file, so training does not depend on whether it is found or made
anew, nor on which process made it.
"""

import contextlib
import dataclasses
import json
import math
import os
import shutil
import warnings
import zlib
from pathlib import Path

import numpy as np

from cueco_tf.ownership import InUseError, own
from cueco_tf.storage import write_atomically

AUTO, MEMORY, NONE = "auto", "memory", "none"
_SHARE = 0.25  # of the free memory: what copies take without being asked for
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
        shape: of a copy.
    """

    def __init__(self, count, shape):
        self._rows = np.empty((count, *shape), np.uint8)
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
        shape: of a copy.

    Raises:
        InUseError: where another process has not yet made the folder.
        CacheError: for a folder that cannot be made or used, or a disk without the space.
    """

    def __init__(self, path, count, shape):
        self._length = math.prod(shape)
        self._about = {"format": 1, "images": count, "shape": list(shape)}
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
        free = shutil.disk_usage(path.parent).free
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


@dataclasses.dataclass(frozen=True)
class _Part:
    """The copies of some of the images: `rows` are their numbers."""

    whole: object
    rows: np.ndarray

    def read(self, i, row):
        return self.whole.read(self.rows[i], row)

    def write(self, i, row):
        self.whole.write(self.rows[i], row)


@dataclasses.dataclass(frozen=True)
class Copies:
    """Where a split's copies are kept: `views`, of whole images, from which views are cut, and
    `plain`, of the central squares that are evaluated."""

    views: object = Nowhere()
    plain: object = Nowhere()

    def take(self, chosen):
        """The copies of the chosen indices."""
        return Copies(_Part(self.views, chosen), _Part(self.plain, chosen))


def check_cache(where):
    """Raises CacheError where `keep_copies` could not use a path, as far as a look tells."""
    if where not in (AUTO, MEMORY, NONE):
        path = Path(where).expanduser()
        if path.exists() and not (path.is_dir() and os.access(path, os.W_OK)):
            raise CacheError(
                f"--cache should be auto, memory, none or a folder that can be written. "
                f"Received: {where}"
            )


@contextlib.contextmanager
def keep_copies(images, where):
    """Has each image of a set decoded once for its views and once for its evaluation.

    Args:
        images: `ImageSet`.
        where: `"memory"`; a path, of a folder for the copies of any number of sets; `"none"`; or
            `"auto"`, for memory where a quarter of what is free holds them all.

    Yields:
        `ImageSet`, the same where its images lie in memory anyway.

    Raises:
        CacheError: for a folder that cannot be made or used, or a disk without the space.
    """
    splits = {
        name: split
        for name in ("train", "test")
        if hasattr(split := getattr(images, name), "copies")
    }
    needed = sum(len(split) * sum(map(math.prod, split.shapes)) for split in splits.values())
    where = _decide(where, needed) if splits else NONE
    with contextlib.ExitStack() as held:
        if where != NONE:
            kept = {name: _copies(split, where, held) for name, split in splits.items()}
            images = dataclasses.replace(
                images,
                **{name: dataclasses.replace(splits[name], copies=kept[name]) for name in splits},
            )
        yield images


def _decide(where, needed):
    """`"memory"`, `"none"` or a path."""
    if where == NONE:
        return where
    if where not in (AUTO, MEMORY):
        print(f"Copies of the images are kept in {where}: {in_bytes(needed)}")
        return where
    free = free_memory()
    if where == MEMORY or needed <= _SHARE * free:
        print(f"Copies of the images are kept in memory: {in_bytes(needed)} in the end")
        return MEMORY
    print(
        f"No copies of the images are kept, and each epoch decodes them anew: they would take "
        f"{in_bytes(needed)}, and {in_bytes(free)} of memory are free. --cache DIR keeps them on a "
        f"disk."
    )
    return NONE


def _copies(split, where, held):
    """The `Copies` of a split in memory or in a folder; `held` lets go of what they hold."""
    stores = []
    for name, shape in zip(("views", "plain"), split.shapes, strict=True):
        if where == MEMORY:
            stores.append(Memory(len(split), shape))
        else:
            folder = Path(where).expanduser() / f"{name}-{shape[0]}-{split.identity()[:24]}"
            try:
                stores.append(Folder(folder, len(split), shape))
            except InUseError:
                stores.append(Nowhere())
                continue
            held.callback(stores[-1].close)
    return Copies(*stores)


def _reserve(file, size):
    """Gives a new file its size, and the disk's space where the system can do so."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)


def free_memory():
    """The bytes of memory that this process may still take."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvail"))
    except (OSError, StopIteration):  # no Linux
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    with contextlib.suppress(OSError, ValueError):  # a container's limit, where it has one
        limits = Path("/sys/fs/cgroup")
        most, used = ((limits / f"memory.{name}").read_text() for name in ("max", "current"))
        free = min(free, int(most) - int(used))
    return free


def in_bytes(count):
    """A number of bytes in words: `"1.4 GB"`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
