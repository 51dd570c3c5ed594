"""The images that are taken, and what is told of them. No TensorFlow."""

import collections
import dataclasses
from pathlib import Path

import numpy as np

from cueco_tf.data.channels import common
from cueco_tf.data.members import suffix
from cueco_tf.data.tally import Left, listed, one_line, printable


@dataclasses.dataclass
class Scan:
    """The images of folders, or of a list or archives.

    `places` names where they were looked for: folders, or the list or pattern; `place`, int32
    `(n,)`, says in which of them each lies. `paths` is an `(n,)` array of strings, each as long as
    it is, or of `Member`s; those of a folder are in the order of their parts. `sizes` is int32
    `(n, 2)`, width and height, and `kinds` int8 `(n, 2)`, channels and whether there are more than
    8 bits of each, or None before they are looked into; `left` a `Left`; `used` a list of `Used`,
    by bits; `meaning` says in words what the sub-folders, or labels, are taken for.
    """

    places: tuple
    paths: np.ndarray
    left: Left
    place: np.ndarray = None
    sizes: np.ndarray | None = None
    kinds: np.ndarray | None = None
    used: tuple = ()
    meaning: str = ""

    def __post_init__(self):
        if self.place is None:
            self.place = np.zeros(len(self.paths), np.int32)

    def __len__(self):
        return len(self.paths)

    def lines(self):
        """What was taken and what was left: a line a place, one for all where there are several,
        and one for what was left."""
        meaning = self.meaning and f"; {self.meaning}"
        several = len(self.places) > 1
        lines = [
            f"Images of {printable(name)}: {_taken(self.paths[self.place == i])}"
            for i, name in enumerate(self.places)
        ]
        lines += [f"Together: {len(self):,}"] if several else []
        lines[-1] += meaning
        return (*map(one_line, lines), one_line(f"Left out: {self.left}"))

    def record(self):
        """The same for JSON."""
        names = [printable(name) for name in self.places]
        counts = np.bincount(self.place, minlength=len(names)).tolist()
        each = [{"folder": name, "taken": n} for name, n in zip(names, counts, strict=True)]
        return {
            "folder": ",".join(names),
            **({"folders": each} if len(each) > 1 else {}),
            "taken": len(self),
            "suffixes": _suffixes(self.paths),
            "sub_folders": self.meaning,
            "left": self.left.reasons,
        }

    def take(self, chosen):
        """The images at an index array."""
        looks = {name: getattr(self, name) for name in ("sizes", "kinds")}
        looks = {name: None if each is None else each[chosen] for name, each in looks.items()}
        return dataclasses.replace(
            self, paths=self.paths[chosen], place=self.place[chosen], **looks
        )

    def settled(self, reading):
        """A `Reading` with channels and depth: those of the images where it leaves them to the set.

        Raises:
            ValueError: for images that differ in their channels.
        """
        numbers, first, counts = np.unique(self.kinds[:, 0], return_index=True, return_counts=True)
        names = (printable(Path(path).name) for path in self.paths[first])
        found = dict(zip(numbers.tolist(), zip(counts, names, strict=True), strict=True))
        depth = 16 if 2 * np.count_nonzero(self.kinds[:, 1]) > len(self) else 8
        return reading.settled(reading.channels or common(found), depth)

    def parts_below(self):
        """For each image, the names of the folders between its place and it, and its own."""
        depths = [len(Path(folder).parts) for folder in self.places]
        return (
            Path(path).parts[depths[i] :] for path, i in zip(self.paths, self.place, strict=True)
        )


def _suffixes(paths):
    return dict(collections.Counter(map(suffix, paths)))


def _taken(paths):
    return f"{len(paths):,} ({listed(_suffixes(paths))})" if len(paths) else "0"


def as_array(paths, count):
    """So many strings as an array of objects: one long path does not widen the others, and a
    `Member` stays one."""
    return np.fromiter(paths, object, count)
