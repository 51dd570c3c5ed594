"""Lists of images: a path a line, or a CSV with labels. No TensorFlow."""

import csv
import io
import os
from pathlib import Path

from cueco_tf.data.columns import Listing, ListingError, label_column, split_column
from cueco_tf.data.taken import as_array
from cueco_tf.data.tally import Left, printable

_PATH, _LABEL, _SPLIT = "path", "label", "split"


def read_list(file):
    """Reads a list of image files.

    A text whose first line has `path` among its comma-separated names is CSV, with quotes as CSV
    has them; `label` and `split` may be there too, and other columns are left. Any other text holds
    a path a line. Paths that are not absolute begin at the list's own folder, so that a list
    travels with its images.

    Args:
        file: path.

    Returns:
        `Listing`. What it names need not be there.

    Raises:
        ListingError: for what is no such text, or holds no path, or labels of two kinds.
    """
    file = Path(file)
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ListingError(f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ListingError(
            f"{file} is no text in UTF-8 with a path a line, nor CSV with the column path."
        ) from error
    rows = _rows(file, text)
    columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else {})}
    if not rows:
        raise ListingError(f"{file} is empty: it should hold the path of an image a line.")
    # Joined as text, for the names of images stay as they are written.
    folder = os.path.dirname(file)  # noqa: PTH120
    paths = (os.path.join(folder, path) for path in columns[_PATH])  # noqa: PTH118
    labels, splits = (
        make(columns[name], file) if name in columns else None
        for name, make in ((_LABEL, label_column), (_SPLIT, split_column))
    )
    return Listing(str(file), as_array(paths, len(rows)), Left(), labels, splits)


def _rows(file, text):
    """The lines of a list as dicts of the columns that are used, without those of no path."""
    line = text.partition("\n")[0].rstrip("\r")
    try:
        first = [name.strip() for name in next(csv.reader([line]), [])]
    except csv.Error:  # a line of more than CSV's columns hold
        first = [line]
    if _PATH not in first:
        if file.suffix.lower() == ".csv":
            raise ListingError(
                f"{file} should begin with the names of its columns, path among them. "
                f"Received: {printable(','.join(first))[:80]!r}"
            )
        return [{_PATH: line.rstrip("\r")} for line in text.split("\n") if line.strip()]
    used = [name for name in (_PATH, _LABEL, _SPLIT) if name in first]
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), first, strict=True))[1:]
    except csv.Error as error:
        raise ListingError(f"{file} cannot be read as CSV: {error}.") from error
    return [{name: row[name] or "" for name in used} for row in rows if row[_PATH]]


def there(listing):
    """The images of a list that are files, each once; the others are counted.

    Raises:
        ListingError: where none is one.
    """
    kept, seen = [], set()
    for i, path in enumerate(listing.paths):
        same = os.path.normpath(path)
        if same in seen:
            listing.left.add("named more than once", printable(Path(path).name))
        elif not os.path.isfile(path):  # noqa: PTH113 (which also takes what is no name of a file)
            listing.left.add("files that are not there", printable(path))
        else:
            kept.append(i)
            seen.add(same)
    if not kept:
        raise ListingError(
            f"{listing.title} names no file that is there. The first is "
            f"{printable(listing.paths[0])}. What is not absolute begins at the list's own folder."
        )
    columns = (listing.paths, listing.labels, listing.splits)
    paths, labels, splits = (None if each is None else each[kept] for each in columns)
    return Listing(listing.title, paths, listing.left, labels, splits)
