"""Files by a pattern, and the split that the name of each says. No TensorFlow."""

import glob
import os
import re
from pathlib import Path

from cueco_tf.data import remote
from cueco_tf.data.columns import ListingError
from cueco_tf.data.layout import TEST, TRAIN
from cueco_tf.data.members import state
from cueco_tf.settings.choices import expanded


def files_of(pattern, kind, suffix):
    """The files that a pattern matches, sorted.

    Args:
        pattern: of `glob`, with `**` for any folders; or a file; or a folder, for all files of the
            suffix in it and below; of Parquet also as a URL (`remote`).
        kind: what stands before it, for the refusal.
        suffix: of such files.

    Returns:
        A list of strings.

    Raises:
        ListingError: where there is none.
    """
    if remote.is_remote(pattern):
        if kind != "parquet":
            raise ListingError(f"{pattern} is a URL, and of these Parquet alone is read: copy it.")
        files = remote.matches(pattern, suffix)
    else:
        files = _local(expanded(pattern), suffix)
    if not files:
        raise ListingError(
            f"No file matches {pattern}. Give one, or a folder, or a pattern in quotes: "
            f"{kind}:'DIR/*{suffix}'."
        )
    return files


def state_of(file):
    """The size of such a file in bytes, and a number that is another one when it has been changed.

    Raises:
        ListingError, OSError: where it is gone, or cannot be reached.
    """
    return remote.state_of(file) if remote.is_remote(file) else state(file)


def absolute(file):
    """Where such a file lies, wherever a process is: its absolute path, or its URL."""
    return file if remote.is_remote(file) else os.path.abspath(file)  # noqa: PTH100


def _local(path, suffix):
    if path.is_file():
        return [str(path)]
    # Unlike `Path.glob`, this takes an absolute pattern.
    found = path.rglob(f"*{suffix}") if path.is_dir() else glob.iglob(str(path), recursive=True)  # noqa: PTH207
    return sorted(str(each) for each in found if Path(each).is_file())


def split_of(file):
    """The split that a file's name or, failing that, its folder's says, such as
    `validation-00000-of-00004.parquet`; `""` where neither says one."""
    for text in (Path(file).stem, Path(file).parent.name):
        words = re.split("[^a-z]+", text.lower())
        found = next((word for word in words if word in TRAIN or word in TEST), None)
        if found:
            return found
    return ""
