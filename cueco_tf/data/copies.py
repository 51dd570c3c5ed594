"""Has each image of a set decoded once, and its small copies kept: `--cache`."""

import contextlib
import dataclasses
import os
import warnings
from itertools import starmap
from pathlib import Path

import numpy as np

from cueco_tf.data.stores import (
    CacheError,
    Folder,
    Memory,
    Nowhere,
    in_bytes,
    is_made,
    size_of,
)
from cueco_tf.ownership import InUseError
from cueco_tf.settings.choices import expanded
from cueco_tf.storage import free_space

AUTO, MEMORY, NONE = "auto", "memory", "none"
VIEWS, PLAIN = "views", "plain"  # kinds of copies, as `Copies` holds them
_SHARE = 0.25  # of the free memory: what copies take without being asked for
_LIMITS = Path("/sys/fs/cgroup")  # of a container


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
        path = expanded(where)
        if path.exists() and not (path.is_dir() and os.access(path, os.R_OK)):
            raise CacheError(
                f"--cache should be auto, memory, none or a folder that can be read. "
                f"Received: {where}"
            )


@contextlib.contextmanager
def keep_copies(images, where, trained=True):
    """Has each image of a set decoded once for its views and once for its evaluation.

    Args:
        images: `ImageSet`.
        where: `"memory"`; a path, of a folder for the copies of any number of sets; `"none"`; or
            `"auto"`, for memory where a quarter of what is free holds them all.
        trained: whether views are cut out of the training images. Defaults to True; else all are
            evaluated alone.

    Yields:
        `ImageSet`, the same where its images lie in memory anyway.

    Raises:
        CacheError: for a folder that cannot be made or used, or memory or a disk without the space.
    """
    splits = {
        name: split
        for name in ("train", "test")
        if hasattr(split := getattr(images, name), "copies")
    }
    wanted = {
        (name, kind): (len(split), split.shapes[kind], split.reading.dtype)
        for name, split in splits.items()
        for kind in ((VIEWS, PLAIN) if trained and name == "train" else (PLAIN,))
    }
    where = _decide(where, wanted) if wanted else NONE
    with contextlib.ExitStack() as held:
        if where != NONE:
            if where == MEMORY:
                stores = _in_memory(wanted)
            else:
                stores = _in_folder(expanded(where), wanted, splits, held)
            for name, split in splits.items():
                own = {kind: store for (of, kind), store in stores.items() if of == name}
                splits[name] = dataclasses.replace(split, copies=Copies(**own))
            images = dataclasses.replace(images, **splits)
        yield images


def _decide(where, wanted):
    """`"memory"`, `"none"` or a path."""
    if where == NONE:
        return where
    needed = sum(starmap(size_of, wanted.values()))
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


def _in_memory(wanted):
    """A store for each of what is wanted."""
    try:
        return {key: Memory(*given) for key, given in wanted.items()}
    except MemoryError as error:
        raise CacheError(
            f"Copies of the images cannot be kept in memory: {error}. Choose --cache DIR, or "
            f"--cache none."
        ) from error


def _in_folder(root, wanted, splits, held):
    """The same in a folder; `held` lets go of them."""
    known = {name: split.identity()[:24] for name, split in splits.items()}
    paths = {
        (name, kind): root / f"{kind}-{shape[0]}-{known[name]}"
        for (name, kind), (_, shape, _) in wanted.items()
    }
    missing = (given for key, given in wanted.items() if not is_made(paths[key], *given))
    needed, free = sum(starmap(size_of, missing)), free_space(root / "copies")
    if needed > free:
        raise CacheError(
            f"No copies can be kept in {root}: they need {in_bytes(needed)}, and the disk has "
            f"{in_bytes(free)} left. Choose another --cache DIR, or --cache none."
        )
    return {key: _folder(paths[key], given, held) for key, given in wanted.items()}


def _folder(path, given, held):
    try:
        store = Folder(path, *given)
    except InUseError as error:
        warnings.warn(f"{error} Its copies are not used.", stacklevel=2)
        return Nowhere()
    held.callback(store.close)
    return store


def free_memory():
    """The bytes of memory that this process may still take."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvail"))
    except (OSError, StopIteration):  # no Linux
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    with contextlib.suppress(OSError, ValueError):  # a container's limit, where it has one
        most, used = ((_LIMITS / f"memory.{name}").read_text() for name in ("max", "current"))
        told = dict(map(str.split, (_LIMITS / "memory.stat").read_text().splitlines()))
        # Pages of files count as used, and are given up where memory is needed.
        files = sum(int(told[name]) for name in ("active_file", "inactive_file"))
        free = min(free, int(most) - int(used) + files)
    return max(free, 0)
