"""Images that are named one by one, as `list:FILE`, `parquet:GLOB` or `tar:GLOB`. No TensorFlow."""

from pathlib import Path

from cueco_tf.data import lists, parquet, tars


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
        parquet.Table(rest).labels()
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
        return parquet.Table(rest).listing(data_dir)
    return tars.list_tars(rest)


def _list(file):
    return lists.read_list(Path(file).expanduser())
