"""Data sets: `digits`, `cifar10`, `cifar100`, `imagenet100`, `folder:PATH`, `tfds:NAME`.

A data set is a training split and, where there are labels, a test split. A split is either one
array in memory (small images) or a list of files that are decoded as they stream (large ones);
both know how to make the training views of any step and the plain images for evaluation.
"""

import dataclasses
import hashlib
import os
import warnings
from importlib import resources
from pathlib import Path

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from cueco_tf import files, image_files, views
from cueco_tf.config import DATASETS

_SMALL = 64  # pixels: up to here a TFDS set is held in memory, above it is streamed
_LARGE_SIZE, _TEST_SHARE = 224, 0.2


class DataError(ValueError):
    """The data set is unknown, missing or unusable; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class ArraySplit:
    """Images in memory: `images` uint8 `(n, size, size, 3)`, `labels` int32 `(n,)` or None."""

    images: np.ndarray
    labels: np.ndarray | None

    def __len__(self):
        return len(self.images)

    @property
    def image_size(self):
        return self.images.shape[1]

    def training_batches(self, batch_size, augment, seed, first_step, part=views.WHOLE):
        """Endless `((view1, view2), labels)` batches from `first_step` on; of each only `part` is
        made (see `views`)."""
        return views.from_arrays(
            self.images, self.labels, batch_size, augment, seed, first_step, part
        )[0]

    def plain_batches(self, batch_size=256):
        """The images without augmentation, in order: uint8 batches."""
        with tf.device("CPU"):
            return tf.data.Dataset.from_tensor_slices(self.images).batch(batch_size).prefetch(2)

    def fingerprint(self):
        """A hash of the number of images and their labels: pixels differ by a rounding between
        processors, and published sets do not change but by their version."""
        labels = b"" if self.labels is None else self.labels.astype("<i4").tobytes()
        return hashlib.sha256(f"{len(self)}\n".encode() + labels).hexdigest()

    def take(self, chosen):
        """The split of the chosen indices."""
        return ArraySplit(self.images[chosen], None if self.labels is None else self.labels[chosen])

    def sample(self, count, seed=0):
        """A random part of the split, the same for the same seed."""
        if count >= len(self):
            return self
        return self.take(np.sort(np.random.default_rng(seed).permutation(len(self))[:count]))


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """A data set: `train` and `test` splits; `test` is None where there are no labels."""

    name: str
    train: object
    test: object | None
    class_names: tuple | None

    @property
    def num_classes(self):
        return None if self.class_names is None else len(self.class_names)


def load(name, data_dir=None, image_size=None, holdout=0.0):
    """Loads a data set by name.

    Args:
        name: one of `config.DATASETS`. `folder:PATH` takes images of any size and format at any
            depth; where all of them lie in two or more direct sub-folders of PATH, these are the
            classes. `tfds:NAME` is any TensorFlow Datasets set with an `image` feature.
        data_dir: where TensorFlow Datasets keeps its sets; beats the environment's
            `TFDS_DATA_DIR`, which beats `~/tensorflow_datasets`. Empty means unset.
        image_size: integer, the height and width to train at, or None for the native size (224 for
            images above 64 pixels).
        holdout: float in [0, 1): a part of the training split, drawn once and for all, that takes
            the place of the test split, to choose options by. Defaults to 0.

    Returns:
        `ImageSet`.

    Raises:
        DataError: for an unknown name, a set that is missing or holds no usable image, or one
            without labels to hold out.
    """
    images = _load(name, data_dir, image_size)
    return _hold_out(images, holdout) if holdout else images


def _load(name, data_dir, image_size):
    kind, _, rest = name.partition(":")
    if name == "digits":
        return _digits(image_size)
    if name in ("cifar10", "cifar100"):
        return _tfds(name, name, data_dir, image_size)
    if name == "imagenet100":
        return _tfds(name, "imagenet2012", data_dir, image_size, imagenet100_classes())
    if kind == "folder" and rest:
        return _folder(name, Path(rest).expanduser(), image_size)
    if kind == "tfds" and rest:
        return _tfds(name, rest, data_dir, image_size)
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
    images = load(config.dataset, data_dir, config.image_size, config.holdout)
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


def _hold_out(images, share):
    if images.train.labels is None:
        raise DataError(f"{images.name} has no labels, so nothing held out could be scored.")
    total = len(images.train)
    count = round(share * total)
    if not 2 <= count <= total - 2:
        left = f"{total - count} training images and {count} to score on"
        raise DataError(f"A holdout of {share} leaves {left}: 2 of each are needed.")
    order = np.random.default_rng(0).permutation(total)
    held, rest = (images.train.take(np.sort(part)) for part in (order[:count], order[count:]))
    return dataclasses.replace(images, train=rest, test=held)


def imagenet100_classes():
    """The WordNet ids of the 100 ImageNet classes that make up ImageNet-100, sorted."""
    text = resources.files("cueco_tf").joinpath("imagenet100_wnids.txt").read_text()
    return tuple(sorted(text.split()))


def _digits(image_size):
    digits = load_digits()
    images = np.round(digits.images[..., None] * (255 / 16)).astype(np.uint8)
    labels = digits.target.astype(np.int32)
    split = train_test_split(images, labels, test_size=_TEST_SHARE, stratify=labels, random_state=0)
    train_x, test_x, train_y, test_y = split
    names = tuple(str(name) for name in digits.target_names)
    train, test = (
        _array_split(*pair, image_size) for pair in ((train_x, train_y), (test_x, test_y))
    )
    return ImageSet("digits", train, test, names)


def _array_split(images, labels, image_size):
    """Brings `(n, height, width, 1 or 3)` images to RGB and to the wanted size."""
    size = image_size or max(images.shape[1:3])
    if images.shape[1:3] != (size, size):
        blocks = (images[i : i + 4096] for i in range(0, len(images), 4096))
        resized = [tf.image.resize(block, (size, size), antialias=True).numpy() for block in blocks]
        images = np.clip(np.round(np.concatenate(resized)), 0, 255).astype(np.uint8)
    return ArraySplit(np.repeat(images, 3 // images.shape[-1], axis=-1), labels)


def _folder(name, folder, image_size):
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}. Give an existing one: folder:PATH.")
    found, skipped = image_files.scan(folder)
    if skipped:
        shown = "".join(f"\n  {path}: {reason}" for path, reason in skipped[:10])
        more = f"\n  and {len(skipped) - 10} more" if len(skipped) > 10 else ""
        warnings.warn(
            f"Skipped {len(skipped)} unreadable images in {folder}:{shown}{more}", stacklevel=3
        )
    if len(found) < 2:
        number = "No readable image" if not found else "A single readable image"
        raise DataError(f"{number} in {folder} and the folders below it.")
    split = files.FileSplit.of(found, None, image_size or _native_size(found))
    parents = sorted({image.path.parent for image in found})
    if len(parents) < 2 or any(parent.parent != folder for parent in parents):
        return ImageSet(name, split, None, None)
    number = {parent: i for i, parent in enumerate(parents)}
    labels = np.array([number[image.path.parent] for image in found], np.int32)
    stratify = (
        labels if np.bincount(labels).min() >= 2 and len(found) >= 10 * len(parents) else None
    )
    train, test = train_test_split(
        np.arange(len(found)), test_size=_TEST_SHARE, stratify=stratify, random_state=0
    )
    split = dataclasses.replace(split, labels=labels)
    names = tuple(os.fsencode(parent.name).decode(errors="replace") for parent in parents)
    return ImageSet(name, split.take(np.sort(train)), split.take(np.sort(test)), names)


def _native_size(found):
    side = int(np.median([min(image.width, image.height) for image in found]))
    return max(side, 8) if side <= _SMALL else _LARGE_SIZE


def _tfds(name, tfds_name, data_dir, image_size, classes=None):
    data_dir = data_dir or os.environ.get("TFDS_DATA_DIR") or None
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
    small = None not in image.shape and max(image.shape[:2]) <= _SMALL
    if small:
        train, test = (_tfds_arrays(builder, split, names, image_size) for split in splits)
    else:
        size = image_size or _LARGE_SIZE
        train, test = (files.extract(builder, split, names, classes, size) for split in splits)
    return ImageSet(name, train, test if names else None, classes or names)


def _prepared_builder(name, tfds_name, data_dir):
    import tensorflow_datasets as tfds  # a second to import, and not every data set needs it

    folder = data_dir or Path("~/tensorflow_datasets").expanduser()
    try:
        builder = tfds.builder(tfds_name, data_dir=data_dir)
        if not builder.is_prepared():
            print(
                f"{name} is not in {folder}: downloading it (without network, minutes of retries)"
            )
            builder.download_and_prepare()
    except Exception as error:  # TFDS and what it calls raise many kinds
        reason = str(error).strip().splitlines()
        raise DataError(
            f"The data set {name} is not in {folder} and could not be prepared "
            f"({type(error).__name__}: {reason[0] if reason else 'no reason given'}). Name the "
            f"folder that holds it with --data-dir or TFDS_DATA_DIR, or prepare it on a machine "
            f"with network: tfds build {tfds_name}"
        ) from error
    return builder


def _tfds_arrays(builder, split, names, image_size):
    import tensorflow_datasets as tfds

    keys = ("image", "label") if names else ("image",)
    dataset = builder.as_dataset(split=split, shuffle_files=False)
    dataset = dataset.map(lambda example: {key: example[key] for key in keys}).batch(4096)
    batches = list(tfds.as_numpy(dataset))
    images = np.concatenate([batch["image"] for batch in batches])
    labels = np.concatenate([batch["label"] for batch in batches]) if names else None
    return _array_split(images, None if labels is None else labels.astype(np.int32), image_size)
