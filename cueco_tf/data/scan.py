"""What is taken from a folder of images, what is left and why. No TensorFlow.

Training, evaluation, reports and embedding all find files through this one module, and say what it
found in the same two lines.
"""

import collections
import concurrent.futures
import dataclasses
import os
from pathlib import Path

import numpy as np
from PIL import Image

from cueco_tf.data.image_files import AS_STORED, WORKERS, Look, examine, reason
from cueco_tf.data.pixels import Used
from cueco_tf.data.tally import Left, listed, one_line, printable
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


@dataclasses.dataclass
class Scan:
    """The images of a folder.

    `paths` is an `(n,)` array of strings, each as long as it is, in the order of their parts;
    `sizes` int32 `(n, 2)`, width and height, or None before they are looked into; `left` a `Left`;
    `used` a list of `Used`, by bits; `meaning` says in words what the sub-folders are taken for.
    """

    folder: Path
    paths: np.ndarray
    left: Left
    sizes: np.ndarray | None = None
    used: tuple = ()
    meaning: str = ""

    def __len__(self):
        return len(self.paths)

    def lines(self):
        """What was taken and what was left, in two lines."""
        meaning = self.meaning and f"; {self.meaning}"
        taken = f"{len(self):,} ({listed(self._suffixes())}){meaning}"
        return (
            one_line(f"Images of {printable(self.folder)}: {taken}"),
            one_line(f"Left out: {self.left}"),
        )

    def record(self):
        """The same for JSON."""
        return {
            "folder": printable(self.folder),
            "taken": len(self),
            "suffixes": self._suffixes(),
            "sub_folders": self.meaning,
            "left": self.left.reasons,
        }

    def take(self, chosen):
        """The images at an index array."""
        sizes = None if self.sizes is None else self.sizes[chosen]
        return dataclasses.replace(self, paths=self.paths[chosen], sizes=sizes)

    def parts_below(self):
        """For each image, the names of the folders between this one and it, and its own."""
        depth = len(self.folder.parts)
        return (Path(path).parts[depth:] for path in self.paths)

    def _suffixes(self):
        return dict(collections.Counter(Path(path).suffix.lower() for path in self.paths))


def find(folder):
    """Finds the image files of a folder and the folders below it, by their names.

    Links to folders are followed, each folder once. Hidden files and folders and those that systems
    make are left, as is what has no suffix of an image format.

    Args:
        folder: path.

    Returns:
        `Scan`, without sizes.
    """
    folder, left = Path(folder), Left()
    formats = {
        suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN
    }
    paths = []
    for entry in _files(str(folder), left):
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
    return Scan(folder, _as_array(paths), left)


def _as_array(paths):
    """Strings as an array of objects: one long path does not widen the others."""
    array = np.empty(len(paths), object)
    array[:] = paths
    return array


def _files(root, left):
    """Yields the directory entries of all files.

    What lies in the folder itself comes before what is linked into it, so that a link to a folder
    that is there anyway adds nothing.
    """
    above = {_identity(parent) for parent in Path(root).resolve().parents}
    seen, folders, links = set(), [root], collections.deque()
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
    """Finds the images in a folder and looks into each.

    Every file is decoded once, a JPEG at an eighth of its size, so that damaged ones are known
    before training.

    Args:
        folder: path.
        reading: `Reading`.

    Returns:
        `Scan`, with sizes.
    """
    found = find(folder)
    sizes = np.zeros((len(found), 2), np.int32)
    used = {bits: Used(bits) for bits in (8, 16, 32)}
    for i, look in enumerate(_looks(found, reading)):
        if isinstance(look, Look):
            sizes[i] = look.width, look.height
            used[look.bits].add(look.low, look.high)
        else:
            found.left.add("unreadable", f"{printable(Path(found.paths[i]).name)}: {look}")
    found = dataclasses.replace(found, sizes=sizes, used=tuple(used.values()))
    return found.take(np.flatnonzero(sizes[:, 0]))


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
