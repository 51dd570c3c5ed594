"""Images in folders, or named one by one, as a data set."""

import dataclasses
import warnings
from pathlib import Path

import numpy as np
from sklearn.model_selection import train_test_split

from cueco_tf.data.channels import RGB
from cueco_tf.data.file_splits import FileSplit
from cueco_tf.data.labels import UNLABELLED
from cueco_tf.data.layout import lay_out
from cueco_tf.data.scan import find, look_into
from cueco_tf.data.splits import LARGE_SIZE, SMALL, DataError, ImageSet
from cueco_tf.data.tally import printable, some

_TEST_SHARE = 0.2


def load_folder(name, folders, image_size, labels, reading):
    """Loads folders of images as one set, and prints what was taken from them and what was left.

    Args:
        name: what the user calls the set.
        folders: paths, one or more.
        image_size: integer, the height and width to train at, or None for the native size.
        labels: `"folders"`, `"none"` or None, as in `sets.load`.
        reading: `Reading`.

    Returns:
        `ImageSet`. Where the labels are known and no folder is a test split, a fifth is held out.

    Raises:
        DataError: for a folder that is not there, where there are fewer than two images, or not the
            classes that are asked for.
    """
    for folder in folders:
        if not Path(folder).is_dir():
            raise DataError(f"There is no folder {folder}. Give an existing one: folder:PATH.")
    found, _ = look_into(find(*folders), reading)
    title = ",".join(map(str, folders))
    try:
        layout = lay_out(found.parts_below(), labels)
    except ValueError as error:
        raise DataError(f"{title}: {error}") from error
    where = f"{title} and the folders below {'it' if len(folders) == 1 else 'them'}"
    return _image_set(name, where, found, layout, image_size, reading)


def load_listing(name, listing, image_size, reading):
    """Loads images that are named one by one, as `load_folder` does those of folders.

    Args:
        name, image_size, reading: as in `load_folder`.
        listing: `columns.Listing`.

    Returns:
        `ImageSet`. Where the labels are known and no split is a test split, a fifth is held out.

    Raises:
        DataError: where there are fewer than two images.
    """
    found, kept = look_into(listing.scan(), reading)
    return _image_set(name, listing.title, found, listing.layout(kept), image_size, reading)


def _image_set(name, where, found, layout, image_size, reading):
    """The set of images of which it is known what they are for."""
    taken = _taken(found, layout)
    for line in taken.lines():
        print(line)
    if len(layout.train) < 2:
        number = "A single readable image" if len(layout.train) else "No readable image"
        why = found.left.first("unreadable")
        raise DataError(f"{number} in {where}.{why and f' {why}'}")
    title = ",".join(map(printable, found.places))
    reading = _settled(title, taken, reading)
    for used in found.used:
        warning = used.warning(title, reading.range_of(used.bits))
        if warning:
            warnings.warn(warning, stacklevel=5)
    whole = FileSplit.of(found, layout.labels, image_size or _native_size(taken), reading)
    train, test = layout.train, layout.test
    if layout.labels is None:
        return ImageSet(name, whole.take(train), None, None, taken)
    if test is None:
        train, test = draw_test(layout.labels, train, len(layout.names))
    names = tuple(map(printable, layout.names))
    return ImageSet(name, whole.take(train), whole.take(test), names, taken)


def _settled(title, taken, reading):
    """The reading of these images; it is said where it is not that of ordinary pictures."""
    try:
        reading = taken.settled(reading)
    except ValueError as error:
        raise DataError(f"{title}: {error}") from error
    if reading != dataclasses.replace(reading, channels=RGB, depth=8):
        channels = f"{reading.channels} channel{'s' * (reading.channels > 1)}"
        print(f"Pixels: {channels} of {reading.depth} bits, {reading.dtype}")
    return reading


def _taken(found, layout):
    """The images that the layout uses, with what it leaves among what is left."""
    for why, index in layout.left:
        if len(index):
            found.left.add(why, count=len(index))
    test = [] if layout.test is None else layout.test
    taken = found.take(np.sort(np.concatenate([layout.train, test]).astype(int)))
    meaning = layout.meaning
    if layout.labels is not None:
        beside = found.paths[layout.train[layout.labels[layout.train] == UNLABELLED]]
        if len(beside):
            meaning += (
                f", without a class: {some(len(beside), (Path(path).name for path in beside))}"
            )
    return dataclasses.replace(taken, meaning=meaning)


def draw_test(labels, train, classes):
    """Holds a fifth of the labelled images out, of each class alike where there are enough.

    Args:
        labels: int32 `(n,)`, -1 where unknown.
        train: index array, of the images to draw from.
        classes: integer.

    Returns:
        `(train, test)`, sorted index arrays.
    """
    known = train[labels[train] != UNLABELLED]
    own = labels[known]
    enough = np.bincount(own).min() >= 2 and len(known) >= 10 * classes
    rest, test = train_test_split(
        known, test_size=_TEST_SHARE, stratify=own if enough else None, random_state=0
    )
    return np.sort(np.concatenate([rest, np.setdiff1d(train, known)])), np.sort(test)


def _native_size(found):
    side = int(np.median(found.sizes.min(axis=1)))
    return max(side, 8) if side <= SMALL else LARGE_SIZE
