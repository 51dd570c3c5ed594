"""What the sub-folders of a folder are taken for, by names and places alone."""

import numpy as np
import pytest

from cueco_tf.data.layout import lay_out


def decided(*names, asked=None):
    """By image: its class, `?` where unknown, `-` without labels, in capitals where it is scored,
    None where it is left."""
    layout = lay_out([name.split("/") for name in names], asked)
    found = dict.fromkeys(names)
    for part in ("train", "test"):
        for i in () if getattr(layout, part) is None else getattr(layout, part):
            label = "-" if layout.labels is None else "?"
            if layout.labels is not None and layout.labels[i] >= 0:
                label = layout.names[layout.labels[i]]
            found[names[i]] = label.upper() if part == "test" else label
    left = np.concatenate([index for _, index in layout.left] or [[]]).astype(int)
    assert sorted(names[i] for i in left) == sorted(name for name in names if found[name] is None)
    return list(found.values())


@pytest.mark.parametrize(
    "names, expected",
    [
        (("a/1", "b/1"), ["a", "b"]),
        (("b/1", "a/1", "a/deep/er/2"), ["b", "a", "a"]),
        (("a/1", "b/1", "c/d/1", "stray"), ["a", "b", "c", "?"]),
        (("a/1", "a/2"), ["-", "-"]),
        (("1", "2"), ["-", "-"]),
        # A library of photographs: the few in sub-folders do not name all others.
        (("1", "2", "3", "best/1", "prints/1"), ["-"] * 5),
        (("2023/05/1", "2023/06/1", "2024/01/1"), ["-"] * 3),
        (("train/a/1", "train/b/1", "val/a/1", "val/b/1"), ["a", "b", "A", "B"]),
        (("Training/a/1", "Training/b/1", "Test/b/1"), ["a", "b", "B"]),
        (("train/a/1", "train/b/1", "val/a/1", "test/b/1"), ["a", "b", None, "B"]),
        (("train/a/1", "train/b/1", "val/a/1", "test/1"), ["a", "b", "A", None]),
        (("train/a/1", "train/b/1", "val/c/1", "val/a/1", "s"), ["a", "b", None, "A", "?"]),
        (("train/a/1", "train/b/1", "val/1"), ["a", "b", None]),
        (("train/1", "train/2", "test/1"), ["-", "-", None]),
        # A train among other vehicles.
        (("train/1", "bus/1", "test/1"), ["train", "bus", "test"]),
        (("images/1", "masks/1"), ["-", None]),
        (("IMG/1", "gt/1", "labels/1", "stray"), ["-", None, None, "-"]),
        (("train/images/1", "train/masks/1", "val/images/1"), ["-", None, None]),
        (("masks/1", "hats/1"), ["masks", "hats"]),
    ],
)
def test_names_and_places_decide(names, expected):
    assert decided(*names) == expected


@pytest.mark.parametrize(
    "names, expected",
    [
        (("1", "2", "3", "best/1", "prints/1"), ["?", "?", "?", "best", "prints"]),
        (("2023/05/1", "2024/01/1"), ["2023", "2024"]),
        (("images/1", "masks/1"), ["images", "masks"]),
        (("train/1", "test/1"), ["train", "test"]),
        (("train/images/1", "train/masks/1", "val/masks/1"), ["images", "masks", "MASKS"]),
        (("train/a/1", "train/b/1", "val/a/1"), ["a", "b", "A"]),
    ],
)
def test_folders_are_classes_where_that_is_asked_for(names, expected):
    assert decided(*names, asked="folders") == expected
    assert decided(*names, asked="none") == ["-"] * len(names)


def test_classes_that_are_not_there_cannot_be_asked_for():
    for names in (("1", "2"), ("a/1", "a/2", "3")):
        with pytest.raises(ValueError, match="--labels folders needs two sub-folders with images"):
            decided(*names, asked="folders")


def test_no_image_at_all_is_no_failure():
    assert len(lay_out([]).train) == 0
