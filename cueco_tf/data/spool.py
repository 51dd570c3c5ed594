"""Image bytes copied into one file, to be read in any order. No TensorFlow.

A Parquet file gives an image only with the hundreds or thousands that are compressed beside it. So
each file is copied out once, and the copy is known by the file's place, size and time.
"""

import hashlib
import os
from pathlib import Path

import numpy as np

from cueco_tf.data.columns import ListingError
from cueco_tf.data.members import Member
from cueco_tf.data.patterns import absolute, state_of
from cueco_tf.ownership import own
from cueco_tf.progress import tqdm
from cueco_tf.settings.choices import data_home
from cueco_tf.storage import disk_of, free_space, new_folder

_BYTES, _ENDS = "images.bin", "ends.npy"


def spool_folder(data_dir=None):
    """Where copies lie: a path.

    Args:
        data_dir: where TensorFlow Datasets keeps its sets, or None for the environment's or its own
            place.
    """
    return data_home(data_dir) / "cueco_tf_files" / "parquet"


def spooled(file, column, images, count, size, data_dir=None):
    """The images of a file that cannot be read in any order.

    Where they have not yet been copied, they are, by one process at a time.

    Args:
        file: its path.
        column: name of the column that they are from.
        images: function that yields their bytes, or None for an image that has none; or None to
            make no copy.
        count: integer, how many there are.
        size: integer, about how many bytes they have.
        data_dir: as in `spool_folder`.

    Returns:
        A list of `Member`s, called FILE#ROW.

    Raises:
        ListingError: for a disk that has no room, a copy that is damaged or, without `images`, not
            there.
    """
    known = (absolute(file), *state_of(file), column, count)
    folder = spool_folder(data_dir) / hashlib.sha256(repr(known).encode()).hexdigest()[:16]
    try:
        if not folder.exists() and images is not None:
            with own(folder, waits_for=lambda holder: True):
                if not folder.exists():
                    _check_room(file, folder, size)
                    with new_folder(folder) as partial:
                        title = f"Copying the images of {Path(file).name}"
                        _write(partial, tqdm(images(), title, count, unit="image", leave=False))
        ends = np.load(folder / _ENDS, allow_pickle=False)
        whole = len(ends) == count + 1 and ends[-1] == (folder / _BYTES).stat().st_size
    except (OSError, ValueError, EOFError) as error:
        why = getattr(error, "strerror", None) or error
        raise ListingError(f"The images of {file} cannot be copied to {folder}: {why}") from error
    if not whole:
        raise ListingError(f"{folder}, the copy of the images of {file}, is damaged: remove it.")
    place, sizes = str(folder / _BYTES), np.diff(ends)
    pairs = zip(ends[:-1].tolist(), sizes.tolist(), strict=True)
    return [Member(f"{file}#{row}", place, *pair) for row, pair in enumerate(pairs)]


def _check_room(file, folder, size):
    free = free_space(folder)
    if free < size:
        raise ListingError(
            f"{disk_of(folder)} has no room for the images of {file}, which are copied there once: "
            f"{size / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free. Choose another --data-dir."
        )


def _write(folder, images):
    ends = [0]
    with open(folder / _BYTES, "wb") as file:
        for content in images:
            ends.append(ends[-1] + file.write(content or b""))
        file.flush()
        os.fsync(file.fileno())
    np.save(folder / _ENDS, np.array(ends, np.int64))
