"""What a list, a table or shards say of images: labels and splits. No TensorFlow."""

import dataclasses

import numpy as np

from cueco_tf.data.labels import UNLABELLED
from cueco_tf.data.layout import TEST, TRAIN, Layout
from cueco_tf.data.taken import Scan
from cueco_tf.data.tally import Left, some


class ListingError(ValueError):
    """A list, a table or shards that cannot be used; the message says why and what to do."""


@dataclasses.dataclass
class Listing:
    """Images with what is said of each.

    Args:
        title: what the whole is called.
        paths: `(n,)` array of strings or `Member`s.
        left: `Left`.
        labels: `(n,)` array of objects: what `label_column` returns, or None.
        splits: `(n,)` array of objects: what `split_column` returns, or None.
        names: of the classes by their number, where labels are such, or None.
    """

    title: str
    paths: np.ndarray
    left: Left
    labels: np.ndarray | None = None
    splits: np.ndarray | None = None
    names: tuple | None = None

    def scan(self):
        """The `Scan` of all of them, without sizes."""
        return Scan((self.title,), self.paths, self.left)

    def layout(self, chosen):
        """What the images at an index array are for, as a `Layout` of these."""
        labels = None if self.labels is None else self.labels[chosen]
        splits = None if self.splits is None else self.splits[chosen]
        return lay_out(len(chosen), labels, splits, self.names)


def label_column(values, title):
    """Labels of one kind.

    Args:
        values: iterable of integers or strings; None, -1 and the empty string stand for unknown.
        title: what the whole is called, for the refusal.

    Returns:
        `(n,)` array of objects: integers, or strings, or None.

    Raises:
        ListingError: for integers beside other text, other types and numbers below -1.
    """
    labels = np.array([_label(value, title) for value in values], object)
    numbers = [isinstance(label, int) for label in labels if label is not None]
    if any(numbers) and not all(numbers):
        number = next(label for label in labels if isinstance(label, int))
        name = next(label for label in labels if isinstance(label, str))
        raise ListingError(
            f"The labels of {title} should be class numbers or names, not both. "
            f"Received: {number} and {name!r}"
        )
    return labels


def _label(value, title):
    if isinstance(value, str):
        value = value.strip()
        digits = value.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()):
            return value or None
        value = int(value)
    if value is None or value == UNLABELLED:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < UNLABELLED:
        raise ListingError(
            f"The labels of {title} should be class numbers from 0 on, -1 where unknown, or names. "
            f"Received: {value!r}"
        )
    return value


def split_column(values, title):
    """The names of splits, of which there is one to train on.

    Args:
        values: iterable of strings, such as `"train"` and `"val"`; the empty one is of training.
        title: as in `label_column`.

    Returns:
        `(n,)` array of strings of `layout.TRAIN` and `layout.TEST`.

    Raises:
        ListingError: for another name.
    """
    splits = np.array([str(value or "train").strip().lower() for value in values], object)
    strange = sorted(set(splits) - TRAIN - set(TEST))
    if strange:
        raise ListingError(
            f"The splits of {title} should be train, or one of {', '.join(TEST)}. "
            f"Received: {strange[0]!r}"
        )
    return splits


def lay_out(count, labels=None, splits=None, names=None):
    """Decides what images are for by what is said of them.

    As with folders, the first of `test`, `val` that has labels is scored, and the classes are those
    of the images to train on. Splits without one to train on say nothing.

    Args:
        count: integer, how many images there are.
        labels, splits, names: as in `Listing`.

    Returns:
        `Layout`.
    """
    index = np.arange(count)
    in_train = np.ones(count, bool) if splits is None else np.isin(splits, list(TRAIN))
    if not in_train.any():
        splits, in_train = None, np.ones(count, bool)
    train = index[in_train]
    own = sorted({labels[i] for i in train if labels[i] is not None}) if labels is not None else []
    if len(own) < 2:
        layout = Layout(train)
        layout.left.append(
            ("of other splits (nothing to train on, nor to score without labels)", index[~in_train])
        )
        return layout
    number = {label: i for i, label in enumerate(own)}
    known = np.array([number.get(label, UNLABELLED) for label in labels], np.int32)
    titles = tuple(str(label) if names is None else names[label] for label in own)
    layout = Layout(train, None, known, titles, f"{len(own):,} classes")
    present = () if splits is None else set(splits)
    for name in filter(present.__contains__, TEST):
        part = index[splits == name]
        scored = known[part] != UNLABELLED
        if layout.test is None and scored.any():
            layout.test = part[scored]
            layout.meaning += f", the split {name} is scored"
            layout.left.append((f"in {name} without a class of train", part[~scored]))
        else:
            layout.left.append((f"in {name}, which is not scored", part))
    return layout


def check_names(labels, names, title):
    """Raises ListingError for a label, of `label_column`, that is no number of a name."""
    known = (label for label in labels if label is not None)
    wrong = [label for label in known if not (isinstance(label, int) and label < len(names))]
    if wrong:
        raise ListingError(
            f"The labels of {title} should be below {len(names)}, the number of names. "
            f"Received: {some(len(wrong), map(str, wrong))}"
        )
