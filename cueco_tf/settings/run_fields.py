"""What every run can be told, whatever its method: each setting with its default and its rule."""

import dataclasses
import functools
import math

from cueco_tf.settings import choices
from cueco_tf.settings.encoders import ENCODER, FREEZE_EPOCHS, NO_WEIGHTS, WEIGHTS
from cueco_tf.settings.fields import setting
from cueco_tf.settings.methods import METHODS, MethodSettings
from cueco_tf.settings.presets import LARGEST_BATCH, RATE, names_a_dataset
from cueco_tf.settings.rules import (
    LARGEST,
    POSITIVE,
    at_least,
    at_most,
    between,
    count,
    numbers_in,
    one_of,
    pair,
    rule,
)

_data, _network, _training, _views, _devices = (
    functools.partial(setting, group=group)
    for group in ("data", "network", "training", "views", "several devices")
)


@dataclasses.dataclass(frozen=True)
class RunFields:
    """The settings of every run; field names are those of the command line.

    `method` is a name of `METHODS`, and `settings` an instance of its class, or a dict of what
    differs from its defaults. What is None stands for "the data set's own" or "the device's own"
    until it is resolved.

    The evidence in the comments is from CIFAR-100, ResNet-10 of width 16, 10 epochs, scored on
    images held out of the training split: docs/results/defaults.md. It is small scale.
    """

    dataset: str = _data(
        dataclasses.MISSING,
        rule(names_a_dataset, f"one of {', '.join(choices.DATASETS)}, or a path that is there"),
        "digits, cifar10, cifar100, imagenet100, folder:PATH (images at any depth; one sub-folder "
        "a class counts as labels; several have commas between them), list:FILE (a path a line, or "
        "CSV with the columns path and, if there are any, label and split), parquet:GLOB (image "
        "bytes and labels as Hugging Face writes them), tar:GLOB (WebDataset), array:FILE.npy "
        "(images), array:FILE.npz (the arrays images and, if there are any, labels) or tfds:NAME "
        "(any TensorFlow Datasets image set)",
    )
    method: str = setting(
        "cueco",
        one_of(*METHODS),
        "; ".join(f"{name}: {method.summary}" for name, method in METHODS.items()),
        group="method",
    )
    settings: MethodSettings | dict | None = None
    encoder: str = _network(
        "resnet18",
        ENCODER,
        f"{', '.join(choices.ENCODERS)}; keras:NAME, a network of keras.applications such as "
        "keras:MobileNetV3Small; file:PATH.keras, your own, from pixels 0 to 255 to features; "
        "python:MODULE:FUNCTION, which gets the image size and returns one",
    )
    width: int | None = _network(
        None,
        at_least(1) & at_most(LARGEST),
        "channels of a ResNet's first stage: 64 as published, 16 quick on a CPU",
        unset="64",
    )
    weights: str = _network(
        NO_WEIGHTS,
        WEIGHTS,
        "where the encoder begins: imagenet, for keras:NAME; the folder of a finished run; a "
        ".keras file of such a network; or none, which is at random, or the file's own",
        metavar="WHERE",
    )
    image_size: int | None = _data(
        None,
        at_least(8) & at_most(LARGEST),
        "length of a side",
        metavar="PIXELS",
        unset="the native size",
        resolved=True,
    )
    labels: str | None = _data(
        None,
        one_of(*choices.LABELS),
        "folders: the sub-folders of folder:PATH are classes, whatever their names; none: they "
        "mean nothing, and all images are taken",
        metavar="HOW",
        unset="what the folder looks like, which is said",
    )
    pixel_range: tuple | None = _data(
        None,
        pair(lambda low, high: -math.inf < low < high < math.inf, "two numbers, LOW below HIGH"),
        "which pixels are black and white in image files and arrays, such as 0 4095 for 12 bits in "
        "files of 16; files of 8 bits keep theirs where HIGH is above 255",
        metavar=("LOW", "HIGH"),
        unset="0 and the largest number of 8 or 16 bits",
    )
    channels: int | None = _data(
        None,
        between(1, choices.MOST_CHANNELS),
        f"numbers of a pixel, 1 to {choices.MOST_CHANNELS}: 1 makes gray of colours, 2 and 4 keep "
        "opacity; pages of a TIFF and the last axis of arrays have to be as many",
        unset="3 for gray and colours, else what the images have",
        resolved=True,
    )
    depth: int | None = _data(
        None,
        one_of(*choices.DEPTHS),
        "bits of such a number: 8, or 16, which keeps those of files and floating-point numbers",
        metavar="BITS",
        unset="16 where most images have more than 8",
        resolved=True,
    )
    max_megapixels: float = _data(
        180.0,
        POSITIVE & at_most(LARGEST),
        "larger image files are left out: they may be an attack on memory",
    )
    epochs: int | None = _training(
        None,
        count(1),
        "passes over the training images",
        unset="200, of fewer than 3,000 images up to 800",
        resolved=True,
    )
    freeze_epochs: int = _training(
        0,
        FREEZE_EPOCHS,
        "epochs at the beginning in which the encoder stays as it is and its head alone learns",
    )
    batch_size: int | None = _training(
        None,
        count(1),
        "images a step, on all devices together",
        unset="256, of fewer than 4,096 images 128 or 64",
        resolved=True,
    )
    optimizer: str = _training(
        "sgd",
        one_of(*choices.OPTIMIZERS),
        "sgd, or lars, which keeps each step in proportion to the weights that it changes",
    )
    learning_rate: float | None = _training(
        None,
        POSITIVE & at_most(LARGEST),
        "the highest rate: a linear rise, then a cosine to 0; the defaults are for "
        f"{LARGEST_BATCH} images a batch, in proportion",
        unset=f"{RATE}",
        resolved=True,
    )
    momentum: float = _training(0.9, between(0, 1, "[)"), "of the optimizer, in [0, 1)")
    weight_decay: float = _training(
        1e-3,
        at_least(0) & at_most(LARGEST),
        "with sgd decoupled, where 1e-3 acts about like PyTorch's 1e-4 at momentum 0.9; with lars "
        "part of the gradient, as published",
    )
    learning_rate_warmup: float = _training(
        0.1,
        between(0, 1, "[)"),
        "share of all epochs over which the learning rate rises",
        metavar="SHARE",
    )
    crop_scale: tuple = _views(
        (0.2, 1.0),
        pair(
            lambda least, most: 0 < least <= most <= 1,
            "(least, most) with 0 < least <= most <= 1",
        ),
        "share of the image's area that a view shows, each drawn from this range in (0, 1]; raise "
        "the least where small parts no longer tell what the image is",
        metavar=("LEAST", "MOST"),
    )
    flip: float = _views(0.5, between(0, 1), "probability of a mirror image", metavar="P")
    jitter: tuple = _views(
        (0.4, 0.4, 0.4, 0.1),
        numbers_in(4, 0, LARGEST, lambda four: four[3] <= 0.5, "the last at most 0.5"),
        "strength of the changes of brightness, contrast, saturation and hue",
        metavar=("B", "C", "S", "H"),
    )
    gray: float = _views(0.2, between(0, 1), "probability of a view without colour", metavar="P")
    blur: float | None = _views(
        None,
        between(0, 1),
        "probability of a blurred view",
        metavar="P",
        unset="0.5 for images above 64 pixels, else 0",
        resolved=True,
    )
    solarise: float | None = _views(
        None,
        between(0, 1),
        "probability that the second view's bright pixels are inverted",
        metavar="P",
        unset="0.2 for images above 64 pixels, else 0",
        resolved=True,
    )
    first_blur: float | None = _views(
        None, between(0, 1), "the first view's own --blur", metavar="P", unset="the same"
    )
    first_solarise: float = _views(
        0.0, between(0, 1), "the same as --solarise for the first view", metavar="P"
    )
    holdout: float = _data(
        0.0,
        between(0, 1, "[)"),
        "keep this share of the training images out and score on them, not on the test split: for "
        "choosing options",
        metavar="SHARE",
    )
    eval_dataset: str | None = _data(
        None,
        rule(names_a_dataset, f"one of {', '.join(choices.DATASETS)}"),
        "a labelled set to score on where --dataset has no labels; never trained on",
        metavar="NAME",
        unset="the labelled test images of --dataset",
    )
    # On an H200, ResNet-18: 37,000 images/s in mixed_bfloat16, 27,600 in float32 with TF32. With
    # AMX, ResNet-10 of width 16: 1.52 times those of float32, and ten epochs end with its scores.
    precision: str | None = _training(
        None,
        one_of(*choices.PRECISIONS),
        "float32, mixed_bfloat16 or mixed_float16: of activations and gradients; weights and all "
        "other state stay float32",
        unset="mixed_bfloat16 on GPUs and CPUs with AMX, else float32",
        resolved=True,
    )
    jit: bool | None = _training(
        None,
        None,
        "compile the step with XLA, which rounds differently; of several devices each one's share",
        unset="on a single GPU",
        resolved=True,
    )
    seed: int = _training(0, count(0), "of all that is drawn")
    sync_batchnorm: bool = _devices(
        False,
        None,
        "BatchNormalization over the images of all devices, for the result of a single one",
    )
    train_images: int | None = setting(None, count(2), resolved=True)
    num_classes: int | None = setting(None, count(2))
    fingerprint: str | None = setting(None, None)  # of the training images: see `data.load_for`
    start: str | None = setting(None, None)  # sha256 of the run's `start.keras`, where it keeps one
