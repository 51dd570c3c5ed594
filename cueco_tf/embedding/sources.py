"""Where images to embed come from: a folder, a list of paths, an `.npy` array, a data set.

TensorFlow is imported only where a data set is asked for by its name.
"""

from pathlib import Path

from cueco_tf.data.presence import MissingError, check_there
from cueco_tf.data.reading import AS_STORED
from cueco_tf.data.scan import find
from cueco_tf.embedding.source_kinds import ArrayFile, DatasetArray, FileSource, SourceError
from cueco_tf.process import import_tensorflow
from cueco_tf.settings.presets import PRESETS


def open_source(source, image_size, crop=1.0, data_dir=None, split=None, reading=AS_STORED):
    """Finds out what a source is.

    Args:
        source: path of a folder, of a text file with a path a line, or of an `.npy` array of images
            as the encoder takes them; else the name of a data set, as in training.
        image_size: integer, the height and width that the encoder takes.
        crop: float in (0, 1], the share of an image file's shorter side that is kept.
        data_dir: where TensorFlow Datasets keeps its sets, or None.
        split: `"train"`, `"test"` or None (test where there is one), of a data set.
        reading: `Reading` of images, with the channels and the depth that the encoder takes.

    Returns:
        `FileSource`, `ArrayFile` or `DatasetArray`.

    Raises:
        SourceError: for anything else, or an array of another shape.
    """
    path, reading = Path(source), reading.settled()
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
        return ArrayFile(path, image_size, reading)
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
        pixels = chosen.images.astype(reading.dtype, copy=False)  # a published set has 8 bits
        return DatasetArray(f"{name}/{split}", pixels, chosen.fingerprint())
    return FileSource(chosen.paths, image_size, crop, reading)
