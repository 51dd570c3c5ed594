"""Where images to embed come from: a folder, a list of paths, an `.npy` array, a data set.

A source has a length, a name for each image, and hands out blocks of them as arrays. TensorFlow is
imported only where a data set is asked for by its name.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cueco_tf.data import image_files
from cueco_tf.data.presence import MissingError, check_there
from cueco_tf.data.scan import Scan, find
from cueco_tf.process import import_tensorflow
from cueco_tf.settings.presets import PRESETS


class SourceError(ValueError):
    """The images cannot be used; the message says why and what to do."""


def open_source(
    source, image_size, crop=1.0, data_dir=None, split=None, reading=image_files.AS_STORED
):
    """Finds out what a source is.

    Args:
        source: path of a folder, of a text file with a path a line, or of an `.npy` array, uint8
            `(n, image_size, image_size, 3)`; else the name of a data set, as in training.
        image_size: integer, the height and width that the encoder takes.
        crop: float in (0, 1], the share of an image file's shorter side that is kept.
        data_dir: where TensorFlow Datasets keeps its sets, or None.
        split: `"train"`, `"test"` or None (test where there is one), of a data set.
        reading: `Reading` of image files.

    Returns:
        `FileSource`, `ArrayFile` or `DatasetArray`.

    Raises:
        SourceError: for anything else, or an array of another shape.
    """
    path = Path(source)
    kind = source.partition(":")[0]
    if not path.exists() and kind in PRESETS:
        return _open_dataset(source, image_size, crop, data_dir, split, reading)
    if split is not None and path.exists():
        raise SourceError(
            f"--split is of a data set by its name, and {path} is none. Leave it out."
        )
    if path.is_dir():
        found = find(path)
        if not len(found):
            raise SourceError(
                f"There is no image file in {path} or the folders below it. Left out: {found.left}"
            )
        return FileSource(found.paths, image_size, crop, reading, found)
    if path.suffix.lower() == ".npy" and path.is_file():
        return ArrayFile(path, image_size)
    if path.is_file():
        return FileSource(_read_list(path), image_size, crop, reading)
    raise SourceError(
        f"There is no {source}. Give a folder of images, a text file with a path a line, an .npy "
        f"array, or one of the data sets {', '.join(PRESETS)}."
    )


def _read_list(path):
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{path} is no folder, no .npy array and no text in UTF-8 with a path a line."
        ) from error
    lines = [line.rstrip("\r") for line in lines if line.strip()]
    if not lines:
        raise SourceError(f"{path} is empty: it should hold the path of an image a line.")
    return lines


@dataclasses.dataclass
class FileSource:
    """Image files, cut to their central square.

    Args:
        paths: sequence of strings.
        image_size: integer.
        crop: float in (0, 1].
        reading: `Reading`. Defaults to pixels as they are stored.
        scan: `Scan` that found them, or None.
    """

    paths: Sequence
    image_size: int
    crop: float
    reading: image_files.Reading = image_files.AS_STORED
    scan: Scan | None = None

    def __len__(self):
        return len(self.paths)

    def name(self, i):
        """The path of image i, as it was given."""
        return self.paths[i]

    def fingerprint(self):
        """Changes with the list, and with the size or the time of any file."""
        digest = hashlib.sha256(f"{self.image_size} {self.crop} {self.reading}".encode())
        for path in self.paths:
            try:
                state = Path(path).stat()
            except OSError:
                state = None
            known = (path, state and state.st_size, state and state.st_mtime_ns)
            digest.update(repr(known).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def load(self, start, stop):
        """Decodes the images of a range.

        Returns:
            `(images, kept, skipped)`: uint8 `(kept, image_size, image_size, 3)`; the list of the
            numbers of those that could be read; a list of `(name, reason)` of the others.
        """
        images, kept, skipped = [], [], []
        how = self.image_size, self.crop, self.reading
        for i in range(start, stop):
            try:
                images.append(image_files.central_crop(self.paths[i], *how))
                kept.append(i)
            except Exception as error:  # a damaged file can make a decoder raise anything
                skipped.append((self.paths[i], image_files.reason(error)))
        shape = (0, self.image_size, self.image_size, 3)
        return np.stack(images) if images else np.empty(shape, np.uint8), kept, skipped


class _Arrays:
    """Images that are held as arrays, of pixels as the encoder takes them."""

    reading = scan = None


class ArrayFile(_Arrays):
    """An `.npy` file, read a block at a time.

    Args:
        path: of an array, uint8 `(n, image_size, image_size, 3)`.
        image_size: integer.

    Raises:
        SourceError: for any other array.
    """

    def __init__(self, path, image_size):
        self.path = path
        try:
            array = np.lib.format.open_memmap(path, mode="r")
        except (ValueError, OSError, EOFError) as error:
            raise SourceError(f"{path} is not an array that can be read: {error}") from error
        wanted = (image_size, image_size, 3)
        if array.ndim != 4 or array.shape[1:] != wanted or array.dtype != np.uint8:
            raise SourceError(
                f"{path} should hold uint8 images of shape (n, {image_size}, {image_size}, 3), as "
                f"the encoder takes them. Received: {array.dtype} of shape {array.shape}. Resize "
                f"them first, or give the image files themselves."
            )
        if not len(array) or not array.flags.c_contiguous:
            raise SourceError(f"{path} should hold at least one image, in C order.")
        self._shape, self._offset = array.shape, array.offset

    def __len__(self):
        return self._shape[0]

    def name(self, i):
        """PATH#i."""
        return f"{self.path}#{i}"

    def fingerprint(self):
        """Changes with the file's path, shape, size or time."""
        state = self.path.stat()
        known = (str(self.path), self._shape, state.st_size, state.st_mtime_ns)
        return hashlib.sha256(repr(known).encode()).hexdigest()

    def load(self, start, stop):
        """Reads the images of a range: see `FileSource.load`.

        Raises:
            OSError: when the file cannot be read any more.
        """
        # A memory map would count all that was ever read as memory of this process.
        size = int(np.prod(self._shape[1:]))
        offset = self._offset + start * size
        block = np.fromfile(self.path, np.uint8, (stop - start) * size, offset=offset)
        return block.reshape(-1, *self._shape[1:]), list(range(start, stop)), []


class DatasetArray(_Arrays):
    """A split of a data set that is held in memory.

    Args:
        name: of the data set and the split.
        images: uint8 `(n, image_size, image_size, 3)`.
        known: the split's own fingerprint.
    """

    def __init__(self, name, images, known):
        self._name, self._images, self._known = name, images, known

    def __len__(self):
        return len(self._images)

    def name(self, i):
        """NAME/SPLIT#i."""
        return f"{self._name}#{i}"

    def fingerprint(self):
        """Changes with the name, the number of images and the split's own fingerprint."""
        return hashlib.sha256(f"{self._name} {len(self)} {self._known}".encode()).hexdigest()

    def load(self, start, stop):
        """The images of a range: see `FileSource.load`; none is ever skipped."""
        return self._images[start:stop], list(range(start, stop)), []


def _open_dataset(name, image_size, crop, data_dir, split, reading):
    try:
        check_there(name, data_dir)
        import_tensorflow()
        from cueco_tf.data import sets, splits
    except MissingError as error:
        raise SourceError(str(error)) from error
    except ImportError as error:
        raise SourceError(
            f"There is no folder or file {name}, and the data set of that name needs TensorFlow, "
            f"which is not installed ({error.name} is missing). Give a folder, a list of paths or "
            f"an .npy array."
        ) from error
    try:
        images = sets.load(name, data_dir, image_size, reading=reading)
    except splits.DataError as error:
        raise SourceError(str(error)) from error
    split = split or ("train" if images.test is None else "test")
    chosen = getattr(images, split)
    if chosen is None:
        raise SourceError(f"The data set {name} has no test split: it has no labels.")
    if isinstance(chosen, splits.ArraySplit):
        return DatasetArray(f"{name}/{split}", chosen.images, chosen.fingerprint())
    return FileSource(chosen.paths, image_size, crop, reading)
