"""The configuration of a training run: what every run has, and its method's settings.

Imports nothing heavy, so the command line can teach and refuse without TensorFlow.
"""

import dataclasses
import functools

from cueco_tf.settings.fields import ConfigError, check, convert, options_of, setting
from cueco_tf.settings.methods import METHODS, MethodSettings, class_of
from cueco_tf.settings.presets import PRESETS
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

DATASETS = ("digits", "cifar10", "cifar100", "imagenet100", "folder:PATH", "tfds:NAME")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
ENCODER_NAMES = ("resnet10", "resnet18", "resnet34", "resnet50")

_data, _network, _training, _views, _devices = (
    functools.partial(setting, group=group)
    for group in ("data", "network", "training", "views", "several devices")
)


def _names_a_dataset(value):
    kind, _, rest = value.partition(":")
    return kind in PRESETS and bool(rest) == (kind in ("folder", "tfds"))


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's result. Field names are those of the command line.

    `method` is a name of `METHODS`, and `settings` an instance of its class, or a dict of what
    differs from its defaults. What is None stands for "the data set's own" until `resolve`.

    The evidence in the comments is from CIFAR-100, ResNet-10 of width 16, 10 epochs, scored on
    images held out of the training split: docs/results/defaults.md. It is small scale.
    """

    dataset: str = _data(
        dataclasses.MISSING,
        rule(_names_a_dataset, f"one of {', '.join(DATASETS)}"),
        "digits, cifar10, cifar100, imagenet100, folder:PATH (images at any depth; one sub-folder "
        "a class counts as labels) or tfds:NAME (any TensorFlow Datasets image set)",
    )
    method: str = setting(
        "cueco",
        one_of(*METHODS),
        "; ".join(f"{name}: {method.summary}" for name, method in METHODS.items()),
        group="method",
    )
    settings: MethodSettings | dict | None = None
    encoder: str = _network(
        "resnet18", one_of(*ENCODER_NAMES), "resnet10, resnet18, resnet34, resnet50"
    )
    width: int = _network(
        64,
        at_least(1) & at_most(LARGEST),
        "channels of the first stage: 64 as published, 16 quick on a CPU",
    )
    image_size: int | None = _data(
        None,
        at_least(8) & at_most(LARGEST),
        "length of a side",
        metavar="PIXELS",
        unset="the native size",
        resolved=True,
    )
    epochs: int = _training(200, count(1), "passes over the training images")
    batch_size: int = _training(256, count(1), "images a step, on all devices together")
    learning_rate: float = _training(  # against 0.12: k-NN +1.2, NMI +0.5, at this batch size
        0.4,
        POSITIVE & at_most(LARGEST),
        "the highest rate of SGD: a linear rise, then a cosine to 0",
    )
    momentum: float = _training(0.9, between(0, 1, "[)"), "of SGD, in [0, 1)")
    weight_decay: float = _training(
        1e-3,
        at_least(0) & at_most(LARGEST),
        "decoupled; 1e-3 acts about like PyTorch's 1e-4 at momentum 0.9",
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
    holdout: float = _data(
        0.0,
        between(0, 1, "[)"),
        "keep this share of the training images out and score on them, not on the test split: for "
        "choosing options",
        metavar="SHARE",
    )
    # On an H200, ResNet-18: 37,000 images/s in mixed_bfloat16, 27,600 in float32 with TF32.
    precision: str | None = _training(
        None,
        one_of(*PRECISIONS),
        "float32, mixed_bfloat16 or mixed_float16: of activations and gradients; weights and all "
        "other state stay float32",
        unset="mixed_bfloat16 on GPUs, else float32",
        resolved=True,
    )
    jit: bool | None = _training(
        None,
        None,
        "compile the training step with XLA, which rounds differently",
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

    def __post_init__(self):
        convert(self)
        kind, settings = class_of(self.method), self.settings
        if settings is None or isinstance(settings, dict):
            settings = kind(**(settings or {}))
        if type(settings) is not kind:
            raise ConfigError("settings", f"an object of {kind.title}'s settings", settings)
        object.__setattr__(self, "settings", settings)
        known = self.flat()
        check(self, known)
        check(settings, known)

    @classmethod
    def for_dataset(cls, dataset, method=None, **given):
        """The preset of a data set, with what is given (and not None) in place of its values.

        Args:
            dataset: as the field.
            method: as the field. None, the default, stands for `"cueco"`.
            **given: options of the run and of the method, by name.

        Raises:
            ConfigError: for a value that breaks its rule.
            TypeError: for a name that is no option.
        """
        method = cls.method if method is None else method
        kind = str(dataset).partition(":")[0]
        preset = PRESETS.get(kind, {}) | class_of(method).presets.get(kind, {})
        given = {name: value for name, value in given.items() if value is not None}
        return cls(dataset=dataset, method=method, **_nested(method, preset | given))

    def replace(self, **given):
        """A copy with other options of the run or the method, by name. Those of another method
        begin with its defaults.

        Raises:
            ConfigError, TypeError: as `for_dataset`.
        """
        method = given.pop("method", self.method)
        given = _nested(method, given)
        if method == self.method:
            given["settings"] = dataclasses.asdict(self.settings) | given["settings"]
        return dataclasses.replace(self, method=method, **given)

    def resolve(self, train_images, image_size, num_classes):
        """Fills in what depends on the data set.

        Raises:
            ConfigError: when the values do not fit the data set.
        """
        return dataclasses.replace(
            self,
            settings=self.settings.resolve(train_images, num_classes),
            train_images=train_images,
            image_size=image_size,
            num_classes=num_classes,
            blur=(0.5 if image_size > 64 else 0.0) if self.blur is None else self.blur,
            solarise=(0.2 if image_size > 64 else 0.0) if self.solarise is None else self.solarise,
        )

    def on_gpus(self, count):
        """Fills in what depends on the devices that train: `count` GPUs, or 0."""
        precision = "mixed_bfloat16" if count else "float32"
        return dataclasses.replace(
            self,
            precision=precision if self.precision is None else self.precision,
            jit=count == 1 if self.jit is None else self.jit,
        )

    @property
    def steps_per_epoch(self):
        """Batches an epoch, the last of which may be smaller."""
        return -(-self.train_images // self.batch_size)

    def flat(self):
        """All values by name, the method's among the run's."""
        values = {**vars(self)}
        settings = values.pop("settings")
        return {**values, **vars(settings)}

    def differences(self, other):
        """Settings in which two configurations differ: `{name: (own value, other value)}`. Of two
        methods, the settings that they do not share are not compared."""
        own, others = self.flat(), other.flat()
        both = [name for name in own if name in others]
        return {name: (own[name], others[name]) for name in both if own[name] != others[name]}


def _nested(method, values):
    """Settings by name as `RunConfig` takes them: the method's together in `settings`."""
    kind = class_of(method)
    own = {field.name for field in options_of(kind)}
    strange = set(values) - own - {field.name for field in options_of(RunConfig)}
    if strange:
        raise TypeError(f"a run of {kind.title} has no option {', '.join(sorted(strange))}")
    nested = {name: value for name, value in values.items() if name not in own}
    return {**nested, "settings": {name: values[name] for name in values if name in own}}
