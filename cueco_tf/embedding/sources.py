"""Where images to embed come from: folders, a list, archives, an `.npy` array, a data set.

TensorFlow is imported only where a data set is asked for by its name.
"""

from pathlib import Path

from cueco_tf.data.columns import ListingError
from cueco_tf.data.listings import open_listing
from cueco_tf.data.lists import read_list
from cueco_tf.data.presence import MissingError, check_there
from cueco_tf.data.reading import AS_STORED
from cueco_tf.data.scan import find
from cueco_tf.embedding.source_kinds import ArrayFile, DatasetArray, FileSource, SourceError
from cueco_tf.process import import_tensorflow
from cueco_tf.settings.choices import LISTINGS, dataset_named, expanded, folders_in
from cueco_tf.settings.presets import PRESETS


def open_source(source, image_size, crop=1.0, data_dir=None, split=None, reading=AS_STORED):
    """Finds out what a source is.

    Args:
        source: path of a folder, or several with commas between them; of a list (`data.lists`); of
            an `.npy` array of images as the encoder takes them; `parquet:GLOB` or `tar:GLOB`; else
            the name of a data set, as in training.
        image_size: integer, the height and width that the encoder takes.
        crop: float in (0, 1], the share of an image file's shorter side that is kept.
        data_dir: where TensorFlow Datasets keeps its sets, and images of Parquet are copied to, or
            None.
        split: `"train"`, `"test"` or None (test where there is one), of a data set.
        reading: `Reading` of images, with the channels and the depth that the encoder takes.

    Returns:
        `FileSource`, `ArrayFile` or `DatasetArray`.

    Raises:
        SourceError: for anything else, or an array of another shape.
    """
    path, reading = Path(source), reading.settled()
    kind, _, rest = ("", "", "") if path.exists() else dataset_named(source).partition(":")
    if path.is_file() and path.suffix.lower() in (".parquet", ".tar"):
        kind, rest = path.suffix.lower()[1:], source
    if kind in PRESETS and kind not in LISTINGS and source.startswith(kind):
        return _open_dataset(source, image_size, crop, data_dir, split, reading)
    if split is not None:
        raise SourceError(
            f"--split is of a data set by its name, and {source} is none. Leave it out."
        )
    how = image_size, crop, reading
    if path.suffix.lower() == ".npy" and path.is_file():
        return ArrayFile(path, image_size, reading)
    if path.is_dir() or kind == "folder":
        return _of_folders(folders_in(source), how)
    try:
        if kind in ("parquet", "tar") and rest:
            listing = open_listing(kind, rest, data_dir)
            return FileSource(listing.paths, *how, listing.scan())
        if path.is_file() or (kind == "list" and rest):
            file = path if path.is_file() else expanded(rest)
            return FileSource(read_list(file).paths, *how)
    except ListingError as error:
        raise SourceError(str(error)) from error
    raise SourceError(
        f"There is no {source}. Give a folder of images, a list of paths, an .npy array, "
        f"parquet:GLOB, tar:GLOB, or one of the data sets {', '.join(PRESETS)}."
    )


def _of_folders(folders, how):
    found = find(*folders)
    if not len(found):
        one = len(folders) == 1
        raise SourceError(
            f"There is no image file in {','.join(map(str, folders))} or the folders below "
            f"{'it' if one else 'them'}. Left out: {found.left}"
        )
    return FileSource(found.paths, *how, found)


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
