"""Images that are named one by one, as `list:FILE`, `parquet:GLOB` or `tar:GLOB`. No TensorFlow."""

import functools
import re
from pathlib import Path

from cueco_tf.data import lists, parquet, patterns, tars
from cueco_tf.settings.choices import expanded

_IN_ARCHIVE = re.compile(r"(?P<file>.*?\.(?P<kind>tar|parquet))#", re.DOTALL | re.IGNORECASE)


def check_listing(kind, rest):
    """Looks at what can be seen before images are read.

    Args:
        kind: of `settings.choices.LISTINGS`.
        rest: what follows it: a file or a pattern.

    Raises:
        ListingError: for what cannot be used.
    """
    if kind == "list":
        lists.there(_list(rest))
    elif kind == "parquet":
        _ = parquet.open_table(rest).labels
    else:
        tars.list_tars(rest)


def open_listing(kind, rest, data_dir=None):
    """The images, without a look into them.

    Args:
        kind, rest: as in `check_listing`.
        data_dir: as in `spool.spool_folder`, where images of Parquet are copied to.

    Returns:
        `Listing`.

    Raises:
        ListingError: for what cannot be used.
    """
    if kind == "list":
        return lists.there(_list(rest))
    if kind == "parquet":
        return parquet.open_table(rest).listing(data_dir)
    return tars.list_tars(rest)


def image_named(name, data_dir=None):
    """What opens an image that embeddings have by its name.

    Args:
        name: string: a path, or FILE.tar#NAME or FILE.parquet#ROW of one that was copied out.
        data_dir: as in `spool.spool_folder`.

    Returns:
        The path, or a `Member`.

    Raises:
        ListingError, KeyError, OSError: for an image that is not there.
    """
    found = _IN_ARCHIVE.match(name)
    if not found or Path(name).is_file():
        return name
    file = found["file"]
    return _members(found["kind"].lower(), file, patterns.state_of(file), data_dir)[name]


@functools.lru_cache(None)
def _members(kind, file, state, data_dir):
    """The images of an archive in this state, by name."""
    if kind == "tar":
        return {str(each): each for each in tars.list_tars(file).paths}
    return {
        str(each): each for each in parquet.open_table(file).listing(data_dir, copy=False).paths
    }


def _list(file):
    return lists.read_list(expanded(file))
