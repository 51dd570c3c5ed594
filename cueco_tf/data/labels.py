"""What labels may be: one check for all who take them. No TensorFlow.

-1 means unknown, everywhere: such an image trains like any other, but teaches no probe, has no vote
and is not scored.
"""

import warnings

import numpy as np

UNLABELLED = -1


def check_labels(labels, count, num_classes=None, of="images", text=False):
    """Checks labels and returns them as NumPy.

    Args:
        labels: `(n,)` or `(n, 1)` class numbers from 0 on, of any integer type, -1 where unknown.
        count: integer, how many samples they belong to.
        num_classes: integer, below which class numbers lie, or None for any.
        of: what they belong to, for the refusal. Defaults to `"images"`.
        text: whether names of classes will do as well. Defaults to False.

    Returns:
        Array `(n,)`.

    Raises:
        ValueError: for what is neither, such as floats or one-hot rows, another number of labels,
            or a number out of range.
    """
    labels = np.asarray(labels)
    if text and labels.dtype.kind == "S":
        labels = np.char.decode(labels, errors="replace")
    is_text = text and (labels.dtype.kind == "U" or _holds_text(labels))
    check_kind(labels.shape, np.dtype(int) if is_text else labels.dtype)
    labels = labels.reshape(-1)
    if len(labels) != count:
        raise ValueError(
            f"Labels should be one each. Received {count} {of}, but {len(labels)} labels."
        )
    if not is_text and count:
        _check_range(labels, num_classes)
    return labels


def check_kind(shape, dtype):
    """Checks what is known of labels before they are there.

    Args:
        shape: tuple, None in it where a length is not known.
        dtype: NumPy's.

    Raises:
        ValueError: unless they are integers `(n,)` or `(n, 1)`.
    """
    if len(shape) != 1 and (len(shape) != 2 or shape[1] not in (1, None)):
        advice = " Of one-hot rows give labels.argmax(axis=1)." if len(shape) == 2 else ""
        raise ValueError(
            f"Labels should be one class number each, (n,). Received shape: {shape}.{advice}"
        )
    if dtype.kind not in "iu":
        raise ValueError(
            f"Labels should be integers, -1 where unknown. Received dtype: {dtype}. Convert them "
            f"first, such as by labels.astype(int)."
        )


def _holds_text(labels):
    """Whether an array of objects holds strings alone, each as long as it is."""
    return labels.dtype == object and all(isinstance(label, str) for label in labels.flat)


def _check_range(labels, num_classes):
    least, most = labels.min(), labels.max()
    if least < UNLABELLED:
        raise ValueError(
            f"Labels should be class numbers from 0 on, or -1 where unknown. Received: {least}"
        )
    if num_classes is not None and most >= num_classes:
        raise ValueError(
            f"Labels should be below num_classes={num_classes}, from 0 on. Received: {most}"
        )


def known(labels):
    """Which of labels that `check_labels` has returned are known: bool `(n,)`."""
    return np.ones(len(labels), bool) if labels.dtype.kind in "UO" else labels != UNLABELLED


def labelled(x, labels, name):
    """The samples whose labels are known, to be scored.

    Args:
        x: `(n, ...)` array of samples.
        labels: what `check_labels` takes, or names of classes.
        name: `"train"` or `"test"`, for the refusal.

    Returns:
        `(x, labels)` without those of label -1.

    Raises:
        ValueError: as `check_labels`, and where no label is known.
    """
    x = np.asarray(x)
    labels = check_labels(labels, len(x), of=f"{name} samples", text=True)
    chosen = known(labels)
    if not chosen.any():
        raise ValueError(f"No {name} sample has a label: at least 1 is needed.")
    return x[chosen], labels[chosen]


def warn_of_unused(labels):
    """Warns where there are labels that teach no probe and score no held-out images."""
    if (labels != UNLABELLED).any():
        warnings.warn(
            "The labels are not used: the model was made without `num_classes`, so it trains no "
            "probe, and no `validation_data` asks for k-NN.",
            stacklevel=5,
        )
