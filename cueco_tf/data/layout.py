"""What the sub-folders of a folder of images are taken for: classes, splits, or nothing.

`--labels folders` makes the direct sub-folders classes, `--labels none` gives them no meaning.
Without either, names and places decide:

- `train` beside `val` or `test`, and nothing else: splits, whose sub-folders may be classes;
- two or more sub-folders in which most of the images lie directly: classes. An image that lies
  deeper belongs to the same class, one beside the sub-folders to none (-1);
- `images` beside `masks` or the like: no classes, and the masks are left;
- anything else: no classes.

No TensorFlow.
"""

import dataclasses

import numpy as np

from cueco_tf.data.labels import UNLABELLED

TRAIN = {"train", "training"}
TEST = ("test", "testing", "val", "valid", "validation")  # the first that can be scored is
_PICTURES = {"image", "images", "img", "imgs", "jpegimages"}
_ANSWERS = {
    "annotation",
    "annotations",
    "ground_truth",
    "groundtruth",
    "gt",
    "label",
    "labels",
    "mask",
    "masks",
    "segmentation",
    "segmentations",
}


@dataclasses.dataclass
class Layout:
    """What each image is for.

    `train` and `test` are index arrays, `test` None where no folder is one. `labels` is int32
    `(n,)` for all images, -1 where unknown, or None; `names` the tuple of class names, or None.
    `meaning` says it in words; `left` lists `(why, index array)` of images that are not taken.
    """

    train: np.ndarray
    test: np.ndarray | None = None
    labels: np.ndarray | None = None
    names: tuple | None = None
    meaning: str = "no labels"
    left: list = dataclasses.field(default_factory=list)


def lay_out(parts, asked=None):
    """Decides what images are for by the folders that they lie in.

    Args:
        parts: iterable of lists: for each image the names of the folders from the root's first
            sub-folder on, and its own.
        asked: `"folders"`, `"none"` or None, as `--labels`.

    Returns:
        `Layout`.

    Raises:
        ValueError: where classes are asked for, and there are not two.
    """
    top, second = _levels(parts)
    if asked == "none":
        return Layout(top.index)
    names = {name.lower() for name in top.present()}
    layout = None
    if names & TRAIN and names & set(TEST) and names <= TRAIN | set(TEST):
        layout = _splits(top, second, asked)
    return layout or _whole(top, asked)


@dataclasses.dataclass
class _Level:
    """Images by the folders of one level: `index` `(n,)`, `folder` the number in `names` of that
    which each lies in, -1 for none, and whether it lies there directly."""

    index: np.ndarray
    folder: np.ndarray
    direct: np.ndarray
    names: np.ndarray

    def present(self):
        """The folders' names, sorted."""
        return sorted(self.names[np.unique(self.folder[self.folder >= 0])])

    def where(self, chosen):
        """Those of a mask."""
        return _Level(self.index[chosen], self.folder[chosen], self.direct[chosen], self.names)

    def lies_in(self, names):
        """A mask of the images in folders of these names, given in lower case."""
        hit = np.array([name.lower() in names for name in self.names] + [False])
        return hit[self.folder]


def _levels(parts):
    """The `_Level` of the root's sub-folders, and that of the folders below these."""
    numbers, columns, depth = ({}, {}), ([], []), []
    for path in parts:
        depth.append(len(path) - 1)
        for level in (0, 1):
            name = path[level] if depth[-1] > level else None
            known = numbers[level]
            columns[level].append(-1 if name is None else known.setdefault(name, len(known)))
    depth, index = np.array(depth, np.int32), np.arange(len(depth))
    return (
        _Level(
            index,
            np.array(columns[level], np.int32),
            depth == level + 1,
            np.array(list(numbers[level]), object),
        )
        for level in (0, 1)
    )


def _whole(level, asked):
    """The layout of images that are no splits."""
    pictures = _without_answers(level, asked)
    if pictures is not None:
        return pictures
    labels, names = _classes(level, asked)
    if names is None and asked == "folders":
        raise ValueError(
            f"--labels folders needs two sub-folders with images. "
            f"Received: {', '.join(level.present()) or 'none'}"
        )
    if names is None:
        several = len(level.present()) > 1
        why = (
            ", for most images do not lie directly in its sub-folders (--labels folders makes "
            "these classes)"
        )
        return Layout(level.index, meaning=f"no labels{why if several else ''}")
    return Layout(level.index, None, labels, names, f"its {len(names):,} sub-folders are classes")


def _without_answers(level, asked):
    """The layout of pictures beside masks or the like, or None for any other."""
    names = {name.lower() for name in level.present()}
    if asked is not None or not (
        names & _PICTURES and names & _ANSWERS and names <= _PICTURES | _ANSWERS
    ):
        return None
    answers = level.lies_in(_ANSWERS)
    shown = "/, ".join(level.where(answers).present())
    return Layout(
        level.index[~answers],
        meaning="no labels",
        left=[
            (
                f"in {shown}/ (--labels folders makes classes of them, none takes them)",
                level.index[answers],
            )
        ],
    )


def _classes(level, asked):
    """Labels `(n,)` and names of classes, or (None, None) where the folders are none."""
    present = level.present()
    if len(present) < 2 or (asked != "folders" and np.mean(level.direct) < 0.5):
        return None, None
    number = {name: i for i, name in enumerate(present)}
    of_folder = [number.get(name, UNLABELLED) for name in level.names] + [UNLABELLED]
    return np.array(of_folder, np.int32)[level.folder], tuple(present)


def _splits(top, second, asked):
    """The layout of `train` beside `val` or `test`; None where classes are asked for, and lie
    not below these."""
    in_train = top.lies_in(TRAIN) | (top.folder < 0)
    train = second.where(in_train)
    layout = _without_answers(train, asked)
    labels, names = _classes(train, asked)
    rest, title = top.where(~in_train), "/, ".join(top.where(in_train).present())
    if layout is not None or names is None:
        if asked == "folders":
            return None
        layout = layout or Layout(train.index)
        layout.meaning = f"{title}/ alone, no labels"
        why = f"in {'/, '.join(rest.present())}/ (nothing to train on, nor to score without labels)"
        layout.left.append((why, rest.index))
        return layout
    known = np.full(len(top.index), UNLABELLED, np.int32)
    known[train.index] = labels
    layout = Layout(train.index, None, known, names)
    layout.meaning = f"{title}/ has {len(names):,} classes"
    for name in sorted(rest.present(), key=lambda name: TEST.index(name.lower())):
        part = second.where(top.lies_in({name.lower()}))
        number = {each: i for i, each in enumerate(names)}
        of_folder = [number.get(each, UNLABELLED) for each in part.names] + [UNLABELLED]
        found = np.array(of_folder, np.int32)[part.folder]
        scored = found != UNLABELLED
        if layout.test is None and scored.any():
            layout.test = part.index[scored]
            known[part.index] = found
            layout.meaning += f", {name}/ is scored"
            layout.left.append((f"in {name}/ without a class of {title}/", part.index[~scored]))
        else:
            layout.left.append((f"in {name}/, which is not scored", part.index))
    return layout
