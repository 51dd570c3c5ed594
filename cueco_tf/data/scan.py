"""What is taken from folders of images, what is left and why. No TensorFlow.

Training, evaluation, reports and embedding all find files through this one module, and say what it
found in the same lines.
"""

import collections
import concurrent.futures
import dataclasses
import itertools
import os
from pathlib import Path

import numpy as np

from cueco_tf.data.formats import suffixes
from cueco_tf.data.image_files import WORKERS, examine, reason
from cueco_tf.data.photos import Look
from cueco_tf.data.pixels import Used
from cueco_tf.data.reading import AS_STORED
from cueco_tf.data.taken import Scan, as_array
from cueco_tf.data.tally import Left, printable
from cueco_tf.progress import tqdm

# Made by systems and programs beside the images, not by those who keep them; in lower case.
_SERVICE = {
    "@eadir",
    "@recycle",
    "@tmp",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "__macosx",
    "__pycache__",
    "lost+found",
    "system volume information",
}
_AT_ONCE = 4096  # files that wait to be looked into


def find(*folders):
    """Finds the image files of folders and the folders below them, by their names.

    Links to folders are followed, each folder once. Hidden files and folders and those that systems
    make are left, as is what has no suffix of an image format. An image that several of the folders
    lead to is taken from the first.

    Args:
        *folders: paths.

    Returns:
        `Scan`, without sizes.
    """
    left, found, seen, taken = Left(), [], set(), set()
    for folder in folders:
        paths = _images(folder, left, seen)
        if len(folders) > 1:
            paths = _not_taken(paths, taken, left)
        found.append(paths)
    place = np.repeat(np.arange(len(folders), dtype=np.int32), list(map(len, found)))
    return Scan(
        tuple(map(Path, folders)), as_array(itertools.chain(*found), len(place)), left, place
    )


def _images(folder, left, seen):
    """The paths of a folder's images, sorted."""
    formats, paths = suffixes(), []
    for entry in _files(str(Path(folder)), left, seen):
        suffix = Path(entry.name).suffix.lower()
        if entry.name.startswith("."):
            left.add("hidden files", printable(entry.name))
        elif suffix in formats:
            paths.append(entry.path.replace(os.sep, "\0"))
        else:
            left.add_suffix(printable(suffix) or "no suffix", printable(entry.name))
    paths.sort()  # part by part, for no other character comes before this one
    for i, path in enumerate(paths):  # in place: keys beside a million paths cost 100 MB
        paths[i] = path.replace("\0", os.sep)
    return paths


def _not_taken(paths, taken, left):
    """The paths of files that none before leads to; `taken` holds what all of them lead to."""
    new = []
    for path in paths:
        real = os.path.realpath(path)
        if real in taken:
            left.add("images that are taken already", printable(Path(path).name))
        else:
            taken.add(real)
            new.append(path)
    return new


def _files(root, left, seen):
    """Yields the directory entries of all files in folders that are not yet among those `seen`.

    What lies in the folder itself comes before what is linked into it, so that a link to a folder
    that is there anyway adds nothing.
    """
    above = {_identity(parent) for parent in Path(root).resolve().parents}
    folders, links = [root], collections.deque()
    while folders or links:
        folder = folders.pop() if folders else links.popleft()
        try:
            identity = _identity(folder)
            if identity in above or identity in seen:
                left.add("links to folders that are taken already or lie above", printable(folder))
                continue
            seen.add(identity)
            below = []
            with os.scandir(folder) as entries:
                for entry in entries:
                    kind, name = _kind(entry), printable(entry.name)
                    if kind is None:
                        left.add("broken links and other things that are no files", name)
                    elif kind == "file":
                        yield entry
                    elif name.startswith(".") or name.lower() in _SERVICE:
                        left.add("hidden or service folders", name)
                    else:
                        below.append(entry)
        except OSError as error:
            left.add("folders that cannot be opened", f"{printable(folder)}: {error.strerror}")
            continue
        for entry in sorted(below, key=lambda entry: entry.name):
            (links if entry.is_symlink() else folders).append(entry.path)


def _kind(entry):
    """What a directory entry, or what it links to, is: a folder, a file or neither."""
    try:
        return "folder" if entry.is_dir() else "file" if entry.is_file() else None
    except OSError:  # such as a link to itself
        return None


def _identity(folder):
    state = Path(folder).stat()
    return state.st_dev, state.st_ino


def scan(folder, reading=AS_STORED):
    """Finds the images in a folder and looks into each: `look_into` what `find` finds."""
    return look_into(find(folder), reading)[0]


def look_into(found, reading=AS_STORED):
    """Looks into each image.

    Every file is decoded once, a JPEG at an eighth of its size, so that damaged ones are known
    before training.

    Args:
        found: `Scan`.
        reading: `Reading`.

    Returns:
        `(found, kept)`: the `Scan`, with sizes, of those that can be read; and which those are, an
        index array.
    """
    sizes, kinds = np.zeros((len(found), 2), np.int32), np.zeros((len(found), 2), np.int8)
    used = {bits: Used(bits) for bits in (8, 16, 32)}
    for i, look in enumerate(_looks(found, reading)):
        if isinstance(look, Look):
            sizes[i], kinds[i] = (look.width, look.height), (look.channels, look.deep)
            used[look.bits].add(look.low, look.high)
        else:
            found.left.add("unreadable", f"{printable(Path(found.paths[i]).name)}: {look}")
    found = dataclasses.replace(found, sizes=sizes, kinds=kinds, used=tuple(used.values()))
    kept = np.flatnonzero(sizes[:, 0])
    return found.take(kept), kept


def _looks(found, reading):
    """Yields the `Look` of each file, or why there is none, in order."""

    def look(path):
        try:
            return examine(path, reading)
        except Exception as error:  # a damaged file can make a decoder raise anything
            return reason(error)

    with (
        concurrent.futures.ThreadPoolExecutor(WORKERS) as pool,
        tqdm(total=len(found), desc="Reading the images", unit="file", leave=False) as bar,
    ):
        for start in range(0, len(found), _AT_ONCE):  # a pool holds all that it is given
            for result in pool.map(look, found.paths[start : start + _AT_ONCE]):
                bar.update()
                yield result
