"""Data sets: the built-in ones, and those by kind and place, such as `folder:PATH`.

A data set is a training split and, where there are labels, a test split. A split is either one
array in memory (small images) or a list of files that are decoded as they stream (large ones);
both know how to make the training views of any step and the plain images for evaluation.
"""

import dataclasses

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from cueco_tf.data.arrays import load_array
from cueco_tf.data.columns import ListingError
from cueco_tf.data.folders import load_folder, load_listing
from cueco_tf.data.labels import UNLABELLED
from cueco_tf.data.listings import open_listing
from cueco_tf.data.reading import AS_STORED, Reading
from cueco_tf.data.splits import DataError, ImageSet, array_split
from cueco_tf.data.tfds import imagenet100_classes, load_tfds
from cueco_tf.settings.choices import DATASETS, LISTINGS, dataset_named, expanded, folders_in

_TEST_SHARE = 0.2


def load(name, data_dir=None, image_size=None, holdout=0.0, labels=None, reading=AS_STORED):
    """Loads a data set by name. Of a folder, prints what is taken and what is left.

    Args:
        name: one of `DATASETS`. `folder:PATH` takes images of any size and format at any
            depth; `cueco_tf.data.layout` says when its sub-folders are classes or splits. Several
            folders have commas between them. `list:FILE`, `parquet:GLOB` and `tar:GLOB` name
            images one by one, with labels and splits if there are any (`cueco_tf.data.lists`,
            `parquet`, `tars`). `array:FILE` holds images, and labels if there are any
            (`cueco_tf.data.arrays`). `tfds:NAME` is any TensorFlow Datasets set with an `image`
            feature.
        data_dir: where TensorFlow Datasets keeps its sets, and the images of Parquet files are
            copied to; beats the environment's `TFDS_DATA_DIR`, which beats
            `~/tensorflow_datasets`. Empty means unset.
        image_size: integer, the height and width to train at, or None for the native size (224 for
            images above 64 pixels).
        holdout: float in [0, 1): a part of the training split, drawn once and for all, that takes
            the place of the test split, to choose options by. Defaults to 0.
        labels: of a folder: `"folders"`: its sub-folders are classes; `"none"`: they mean nothing;
            None, the default, for what they look like.
        reading: `Reading`: which pixels are black and white, how many channels and bits are kept,
            how large files may be.

    Returns:
        `ImageSet`.

    Raises:
        DataError: for an unknown name, a set that is missing or holds no usable image, or one
            without labels to hold out.
    """
    images = _load(name, data_dir, image_size, labels, reading)
    return _hold_out(images, holdout) if holdout else images


def _load(name, data_dir, image_size, labels, reading):
    name = dataset_named(name)
    kind, _, rest = name.partition(":")
    if name == "digits":
        return _digits(image_size, reading.channels)
    if name in ("cifar10", "cifar100"):
        return load_tfds(name, name, data_dir, image_size, reading=reading)
    if name == "imagenet100":
        classes = imagenet100_classes()
        return load_tfds(name, "imagenet2012", data_dir, image_size, classes, reading)
    if kind == "folder" and rest:
        return load_folder(name, folders_in(rest), image_size, labels, reading)
    if kind in LISTINGS and rest:
        try:
            listing = open_listing(kind, rest, data_dir)
        except ListingError as error:
            raise DataError(str(error)) from error
        return load_listing(name, listing, image_size, reading)
    if kind == "array" and rest:
        return load_array(name, expanded(rest), image_size, reading)
    if kind == "tfds" and rest:
        return load_tfds(name, rest, data_dir, image_size, reading=reading)
    raise DataError(f"Unknown data set {name!r}. Choose one of: {', '.join(DATASETS)}.")


def load_for(config, data_dir=None):
    """The data set of a run, as it was when the run was begun.

    Args:
        config: the run's `RunConfig`; one that is not yet resolved takes the set as it is.
        data_dir: as in `load`.

    Returns:
        `ImageSet`.

    Raises:
        DataError: as in `load`, and for a set that has changed since.
    """
    images = load(
        config.dataset,
        data_dir,
        config.image_size,
        config.holdout,
        config.labels,
        reading_of(config),
    )
    if config.train_images is None:
        return images
    found = (len(images.train), images.num_classes)
    known = (config.train_images, config.num_classes)
    if found != known:
        raise DataError(
            f"{config.dataset} has changed since the run was trained: it had {known[0]} training "
            f"images and {known[1] or 'no'} classes, now {found[0]} and {found[1] or 'no'}."
        )
    if config.fingerprint not in (None, images.train.fingerprint()):
        raise DataError(
            f"{config.dataset} has changed since the run was trained: it has as many training "
            f"images and classes, but other files or labels. Restore it, or train a new run."
        )
    return images


def scored_for(config, images, data_dir=None):
    """The data set that a run is scored on: its own, or its `eval_dataset`.

    Args:
        config: the run's resolved `RunConfig`.
        images: what `load_for` returned.
        data_dir: as in `load`.

    Returns:
        `ImageSet`; without a test split only where the run's own has no labels.

    Raises:
        DataError: as in `load`, for an `eval_dataset` without labels, or one beside labels of the
            run's own set.
    """
    if config.eval_dataset is None:
        return images
    if images.num_classes is not None:
        raise DataError(
            f"--eval-dataset is for a set without labels, and {config.dataset} has "
            f"{images.num_classes:,} classes, by which runs are scored. Leave it out, or score "
            f"afterwards: python -m pipelines.evaluate RUN --dataset {config.eval_dataset}"
        )
    how = dict(image_size=config.image_size, reading=reading_of(config))
    scored = load(config.eval_dataset, data_dir, **how)
    if scored.test is None:
        raise DataError(
            f"{config.eval_dataset} has no labels, so --eval-dataset cannot be scored on it."
        )
    return scored


def reading_of(config):
    """The `Reading` of a `RunConfig`."""
    return Reading(config.pixel_range, config.max_megapixels, config.channels, config.depth)


def _hold_out(images, share):
    if images.train.labels is None:
        raise DataError(f"{images.name} has no labels, so nothing held out could be scored.")
    total = len(images.train)
    count = round(share * total)
    if not 2 <= count <= total - 2:
        left = f"{total - count} training images and {count} to score on"
        raise DataError(f"A holdout of {share} leaves {left}: 2 of each are needed.")
    order = np.random.default_rng(0).permutation(total)
    order = order[np.argsort(images.train.labels[order] == UNLABELLED, kind="stable")]
    held, rest = (images.train.take(np.sort(part)) for part in (order[:count], order[count:]))
    return dataclasses.replace(images, train=rest, test=held)


def _digits(image_size, channels):
    digits = load_digits()
    images = np.round(digits.images[..., None] * (255 / 16)).astype(np.uint8)
    labels = digits.target.astype(np.int32)
    split = train_test_split(images, labels, test_size=_TEST_SHARE, stratify=labels, random_state=0)
    train_x, test_x, train_y, test_y = split
    names = tuple(str(name) for name in digits.target_names)
    train, test = (
        array_split(*pair, image_size, channels=channels)
        for pair in ((train_x, train_y), (test_x, test_y))
    )
    return ImageSet("digits", train, test, names)
