"""Has each image of a set decoded once, and its small copies kept: `--cache`."""

import contextlib
import dataclasses
import math
import os
from pathlib import Path

import numpy as np

from cueco_tf.data.stores import CacheError, Folder, Memory, Nowhere, in_bytes
from cueco_tf.ownership import InUseError

AUTO, MEMORY, NONE = "auto", "memory", "none"
_SHARE = 0.25  # of the free memory: what copies take without being asked for


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


NO_COPIES = Copies()


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
    needed = sum(map(_needed, splits.values()))
    where = _decide(where, needed) if splits else NONE
    with contextlib.ExitStack() as held:
        if where != NONE:
            kept = {name: _copies(split, where, held) for name, split in splits.items()}
            images = dataclasses.replace(
                images,
                **{name: dataclasses.replace(splits[name], copies=kept[name]) for name in splits},
            )
        yield images


def _needed(split):
    """The bytes that a split's copies take."""
    return len(split) * sum(map(math.prod, split.shapes)) * split.reading.dtype.itemsize


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
    each = [(len(split), shape, split.reading.dtype) for shape in split.shapes]
    if where == MEMORY:
        return Copies(*(Memory(*given) for given in each))
    stores, known = [], split.identity()[:24]
    for name, (count, shape, dtype) in zip(("views", "plain"), each, strict=True):
        folder = Path(where).expanduser() / f"{name}-{shape[0]}-{known}"
        try:
            stores.append(Folder(folder, count, shape, dtype))
            held.callback(stores[-1].close)
        except InUseError:
            stores.append(Nowhere())
    return Copies(*stores)


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
