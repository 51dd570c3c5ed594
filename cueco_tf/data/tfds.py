"""Data sets of TensorFlow Datasets."""

import dataclasses
from importlib import resources
from pathlib import Path

import numpy as np

from cueco_tf.data.file_splits import FileSplit
from cueco_tf.data.labels import UNLABELLED
from cueco_tf.data.presence import MissingError, check_there
from cueco_tf.data.reading import AS_STORED
from cueco_tf.data.scan import scan
from cueco_tf.data.splits import (
    LARGE_SIZE,
    SMALL,
    DataError,
    ImageSet,
    array_split,
)
from cueco_tf.ownership import own
from cueco_tf.progress import tqdm
from cueco_tf.settings.choices import TFDS_HOME, data_home, expanded
from cueco_tf.storage import new_folder


def imagenet100_classes():
    """The WordNet ids of the 100 ImageNet classes that make up ImageNet-100, sorted."""
    text = resources.files("cueco_tf.data").joinpath("imagenet100_wnids.txt").read_text()
    return tuple(sorted(text.split()))


def load_tfds(name, tfds_name, data_dir, image_size, classes=None, reading=AS_STORED):
    """Loads a TensorFlow Datasets set.

    Args:
        name: what the user calls it.
        tfds_name: what TFDS calls it.
        data_dir: where TFDS keeps its sets, or None for the environment's or its own place.
        image_size: integer, the height and width to train at, or None for the native size.
        classes: the names of the classes to keep, which then get these numbers; None for all.
        reading: `Reading`.

    Returns:
        `ImageSet`.

    Raises:
        DataError: for a set that is missing and cannot be prepared, or holds no usable image.
    """
    builder = _prepared_builder(name, tfds_name, data_dir)
    features = dict(builder.info.features.items())
    image = features.get("image")
    if image is None or len(image.shape) != 3:
        raise DataError(
            f"The TFDS set {tfds_name} has no `image` feature. It has: {', '.join(features)}."
        )
    if "train" not in builder.info.splits:
        found = ", ".join(builder.info.splits)
        raise DataError(f"The TFDS set {tfds_name} has no `train` split. It has: {found}.")
    if image.shape[-1] not in (1, 3) or image.np_dtype != np.uint8:
        raise DataError(
            f"The images of {tfds_name} should be uint8, gray or RGB. "
            f"Received: {np.dtype(image.np_dtype).name}, {image.shape[-1]} channels."
        )
    # ImageNet's own test split has no labels.
    preferred = ("validation",) if tfds_name.startswith("imagenet2012") else ("test", "validation")
    test = next((split for split in preferred if split in builder.info.splits), None)
    # Without a test split, the last fifth of the training split is held out.
    splits = ("train", test) if test else ("train[:80%]", "train[80%:]")
    label = features.get("label")
    names = tuple(label.names) if hasattr(label, "names") else None
    small = None not in image.shape and max(image.shape[:2]) <= SMALL
    if small:
        how = names, image_size, reading.channels
        train, test = (_tfds_arrays(builder, split, *how) for split in splits)
    else:
        size = image_size or LARGE_SIZE
        train, test = (extract(builder, split, names, classes, size, reading) for split in splits)
    splits = train, test
    if names is None or not all((each.labels != UNLABELLED).any() for each in splits):
        return ImageSet(name, dataclasses.replace(train, labels=None), None, None)
    return ImageSet(name, train, test, classes or names)


def _prepared_builder(name, tfds_name, data_dir):
    import tensorflow_datasets as tfds  # a second to import, and not every data set needs it

    folder = data_home(data_dir)
    # Without a folder TFDS knows more places, and sets of others.
    asked = None if folder == data_home() == expanded(TFDS_HOME) else folder
    try:
        check_there(f"tfds:{tfds_name}", data_dir)
        builder = tfds.builder(tfds_name, data_dir=asked)
        if not builder.is_prepared():
            with own(Path(folder, builder.name), waits_for=_anyone):
                builder = tfds.builder(tfds_name, data_dir=asked)
                if not builder.is_prepared():  # else who was here before has done it
                    print(f"{name} is not in {folder}: downloading it")
                    builder.download_and_prepare()
    except MissingError as error:
        raise DataError(str(error)) from error
    except Exception as error:  # TFDS and what it calls raise many kinds
        reason = str(error).strip().splitlines()
        raise DataError(
            f"The data set {name} is not in {folder} and could not be prepared "
            f"({type(error).__name__}: {reason[0] if reason else 'no reason given'}). Name the "
            f"folder that holds it with --data-dir or TFDS_DATA_DIR, or prepare it on a machine "
            f"with network: tfds build {tfds_name}"
        ) from error
    return builder


def _tfds_arrays(builder, split, names, image_size, channels):
    import tensorflow_datasets as tfds

    keys = ("image", "label") if names else ("image",)
    dataset = builder.as_dataset(split=split, shuffle_files=False)
    dataset = dataset.map(lambda example: {key: example[key] for key in keys}).batch(4096)
    batches = list(tfds.as_numpy(dataset))
    images = np.concatenate([batch["image"] for batch in batches])
    labels = np.concatenate([batch["label"] for batch in batches]) if names else None
    labels = None if labels is None else labels.astype(np.int32)
    return array_split(images, labels, image_size, channels=channels)


def _anyone(holder):
    """Whom to wait for: whoever prepares a set does so for all, as several workers on a machine."""
    return True


def extract(builder, split, names, classes, image_size, reading=AS_STORED):
    """Writes the encoded images of a TFDS split out as files, once, and returns them as a split.

    TFDS keeps images in record files that can only be read in order. As files they can be shuffled
    perfectly, resumed at any step and cropped while they are decoded, at the price of disk space.
    Where another process is writing them, this waits for it.

    Args:
        builder: a prepared TFDS builder.
        split: name of the split.
        names: its class names, or None without labels.
        classes: the names of the classes to keep, which then get these numbers; None for all.
        image_size: integer, the height and width to train at.
        reading: `Reading` of the files.

    Returns:
        `FileSplit`.
    """
    wanted = "" if classes is None else f"-{len(classes)}-classes"
    safe = "".join(c if c.isalnum() else "_" for c in split)
    target = Path(builder.data_dir, f"cueco_tf_files{wanted}", safe)
    if not target.exists():
        with own(target, waits_for=_anyone):
            if not target.exists():
                with new_folder(target) as partial:
                    _unpack(builder, split, names, classes, partial)
    found = scan(target, reading)
    labels = None
    if names:
        stems = (Path(path).stem.split("-") for path in found.paths)
        labels = np.array([int(stem[1]) if stem[1:] else UNLABELLED for stem in stems], np.int32)
    return FileSplit.of(found, labels, image_size, reading)


def _unpack(builder, split, names, classes, folder):
    """Writes the images of a split, or those of some classes, into a folder."""
    import tensorflow_datasets as tfds

    number = {name: i for i, name in enumerate(classes or names or ())}
    dataset = builder.as_dataset(split=split, decoders={"image": tfds.decode.SkipDecoding()})
    total = builder.info.splits[split].num_examples
    title = f"Unpacking {builder.name} {split}"
    done = 0
    for i, example in enumerate(tqdm(tfds.as_numpy(dataset), title, total, unit="image")):
        known = names and example["label"] != UNLABELLED
        name = names[example["label"]] if known else None
        if name in number or (name is None and classes is None):
            kind = "png" if example["image"].startswith(b"\x89PNG") else "jpg"
            label = "" if name is None else f"-{number[name]}"
            (folder / f"{i:08d}{label}.{kind}").write_bytes(example["image"])
        done += 1
    if done != total:
        raise DataError(f"The split {split} of {builder.name} has {done} images, not {total}.")
