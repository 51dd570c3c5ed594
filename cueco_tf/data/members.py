"""An image that lies in another file, and the one door to the bytes of any image. No TensorFlow.

Everything that reads images knows them by their paths. A `Member` is such a path too, of an image
within an archive: a string that also knows where the bytes are.
"""

import hashlib
import io
import os
from pathlib import Path
from typing import NamedTuple


class Member(str):
    """The name of an image within another file, FILE#NAME, as messages and embeddings have it.

    Args:
        name: the string.
        container: path of the file that holds the bytes.
        offset: integer, where they begin.
        size: integer, how many they are.
    """

    __slots__ = ("container", "offset", "size")

    def __new__(cls, name, container, offset, size):
        """Makes the string, which knows the rest."""
        member = super().__new__(cls, name)
        member.container, member.offset, member.size = container, offset, size
        return member

    def read(self):
        """The bytes of the image.

        Raises:
            OSError: where the file is gone or has been cut off.
        """
        with open(self.container, "rb") as file:
            file.seek(self.offset)
            content = file.read(self.size)
        if len(content) < self.size:
            raise OSError(f"{self.container} ends before the image does")
        return content


class State(NamedTuple):
    """The size of an image in bytes, and when what holds it was last changed."""

    size: int
    mtime_ns: int


class States:
    """The `State` of one image after the other, with one look at a file that holds many."""

    def __init__(self):
        self._times = {}

    def __call__(self, path):
        """As `state`."""
        if not isinstance(path, Member):
            return state(path)
        if path.container not in self._times:
            self._times[path.container] = state(path).mtime_ns
        return State(path.size, self._times[path.container])


def place(path):
    """Where an image's bytes lie, wherever a process is: the absolute path of a file and, of a
    `Member`, where they begin in it."""
    if isinstance(path, Member):
        return os.path.abspath(path.container), path.offset  # noqa: PTH100
    return os.path.abspath(path), 0  # noqa: PTH100


def openable(path):
    """What Pillow opens for a path: itself, or the bytes of a `Member` as a file."""
    return io.BytesIO(path.read()) if isinstance(path, Member) else path


def state(path):
    """The `State` of an image.

    Raises:
        OSError: where it is gone.
    """
    if isinstance(path, Member):
        return State(path.size, Path(path.container).stat().st_mtime_ns)
    found = Path(path).stat()
    return State(found.st_size, found.st_mtime_ns)


def digest(path, new_hash):
    """The hash of an image's bytes.

    Args:
        path: string or `Member`.
        new_hash: function that makes an object of `hashlib`.

    Raises:
        OSError: where it cannot be read.
    """
    if isinstance(path, Member):
        found = new_hash()
        found.update(path.read())
        return found.digest()
    with open(path, "rb") as file:
        return hashlib.file_digest(file, new_hash).digest()


def suffix(path):
    """The suffix of an image, in lower case: a member's own or, where it has none, its file's."""
    own = Path(path).suffix
    if isinstance(path, Member):
        file, _, name = path.rpartition("#")
        own = Path(name).suffix or Path(file).suffix
    return own.lower()
