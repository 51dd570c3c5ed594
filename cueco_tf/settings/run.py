"""The configuration of a training run: what every run has, and its method's settings.

Imports nothing heavy, so the command line can teach and refuse without TensorFlow.
"""

import dataclasses

from cueco_tf.settings import encoders
from cueco_tf.settings.choices import LISTINGS, dataset_named
from cueco_tf.settings.fields import ConfigError, check, convert, options_of
from cueco_tf.settings.methods import class_of
from cueco_tf.settings.presets import LARGEST_BATCH, PRESETS, RATE, by_size
from cueco_tf.settings.run_fields import RunFields

_WIDTH = 64  # of a ResNet, as published
# Kinds of data sets that an option is of.
_OF_KINDS = {"labels": ("folder",), "pixel_range": ("folder", *LISTINGS, "array")}


@dataclasses.dataclass(frozen=True)
class RunConfig(RunFields):
    """Everything that decides a run's result: the fields of `RunFields`, checked.

    Raises:
        ConfigError: for a value that breaks its rule.
    """

    def __post_init__(self):
        convert(self)
        kind, settings = class_of(self.method), self.settings
        if settings is None or isinstance(settings, dict):
            settings = kind(**(settings or {}))
        if type(settings) is not kind:
            raise ConfigError("settings", f"an object of {kind.title}'s settings", settings)
        object.__setattr__(self, "settings", settings)
        if self.width is None and encoders.is_resnet(self.encoder):
            object.__setattr__(self, "width", _WIDTH)
        known = self.flat()
        check(self, known)
        for name, kinds in _OF_KINDS.items():
            if known[name] is not None and self.dataset.partition(":")[0] not in kinds:
                where = ", ".join(f"--dataset {kind}:" for kind in kinds)
                raise ConfigError(name, f"left out: it is of {where}", known[name])
        if self.depth == 16 and self.dataset.partition(":")[0] not in _OF_KINDS["pixel_range"]:
            raise ConfigError("depth", "8: published sets have no more", self.depth)
        if self.width is not None and not encoders.is_resnet(self.encoder):
            raise ConfigError("width", "left out: it is of the ResNets", self.width)
        if self.batch_size is not None and self.batch_size < kind.least_batch:
            rule = f"at least {kind.least_batch}: {kind.title} compares the images of a batch"
            raise ConfigError("batch_size", rule, self.batch_size)
        check(settings, known)

    @classmethod
    def for_dataset(cls, dataset, method=None, **given):
        """The preset of a data set, with what is given (and not None) in place of its values.

        Args:
            dataset: as the field, or a path (`choices.dataset_named`).
            method: as the field. None, the default, stands for `"cueco"`.
            **given: options of the run and of the method, by name.

        Raises:
            ConfigError: for a value that breaks its rule.
            TypeError: for a name that is no option.
        """
        method = cls.method if method is None else method
        dataset = dataset_named(dataset)
        preset = _preset(dataset, method)
        preset.pop("learning_rate", None)  # `resolve` suits it to the batch
        given = {name: value for name, value in given.items() if value is not None}
        if "eval_dataset" in given:
            given["eval_dataset"] = dataset_named(given["eval_dataset"])
        if not encoders.is_resnet(str(given.get("encoder", cls.encoder))):
            preset.pop("width", None)
        config = cls(dataset=dataset, method=method, **_nested(method, preset | given))
        config._check_rate()
        return config

    def replace(self, **given):
        """A copy with other options of the run or the method, by name. Those of another method
        begin with its defaults.

        Raises:
            ConfigError, TypeError: as `for_dataset`.
        """
        method = given.pop("method", self.method)
        for name in {"dataset", "eval_dataset"} & given.keys():
            given[name] = dataset_named(given[name])
        if not encoders.is_resnet(str(given.get("encoder", self.encoder))):
            given.setdefault("width", None)
        given = _nested(method, given)
        if method == self.method:
            given["settings"] = dataclasses.asdict(self.settings) | given["settings"]
        config = dataclasses.replace(self, method=method, **given)
        config._check_rate()
        return config

    def _check_rate(self):
        recipe = _preset(self.dataset, self.method).get("optimizer", RunConfig.optimizer)
        if self.optimizer != recipe and self.learning_rate is None:
            rule = f"given with another optimizer than {recipe}, which the recipe's rate is for"
            raise ConfigError("learning_rate", rule, None)

    def resolve(self, train_images, image_size, num_classes, channels=3, depth=8):
        """Fills in what depends on the data set. Views of other channels than three have no colours
        that could be changed.

        Raises:
            ConfigError: when the values do not fit the data set.
        """
        channels = self.channels or channels
        in_colour = channels == 3
        batch_size, epochs = by_size(train_images)
        batch_size = self.batch_size or batch_size
        rate = _preset(self.dataset, self.method).get("learning_rate", RATE)
        return dataclasses.replace(
            self,
            batch_size=batch_size,
            epochs=self.epochs or epochs,
            learning_rate=self.learning_rate or rate * batch_size / LARGEST_BATCH,
            channels=channels,
            depth=self.depth or depth,
            jitter=self.jitter if in_colour else (*self.jitter[:2], 0.0, 0.0),
            gray=self.gray if in_colour else 0.0,
            settings=self.settings.resolve(train_images, num_classes),
            train_images=train_images,
            image_size=image_size,
            num_classes=num_classes,
            blur=(0.5 if image_size > 64 else 0.0) if self.blur is None else self.blur,
            solarise=(0.2 if image_size > 64 else 0.0) if self.solarise is None else self.solarise,
        )

    def on_devices(self, gpus, fast_bfloat16=False):
        """Fills in what depends on the devices that train.

        Args:
            gpus: integer >= 0, how many; 0 for a CPU.
            fast_bfloat16: whether that CPU multiplies in bfloat16 faster than in float32.
        """
        precision = "mixed_bfloat16" if gpus or fast_bfloat16 else "float32"
        return dataclasses.replace(
            self,
            precision=precision if self.precision is None else self.precision,
            jit=gpus == 1 if self.jit is None else self.jit,
        )

    @property
    def steps_per_epoch(self):
        """Batches an epoch, the last of which may be smaller."""
        return -(-self.train_images // self.batch_size)

    @property
    def keeps_start(self):
        """Whether a run keeps the network that it began with, as `start.keras`."""
        return encoders.begins_elsewhere(self.encoder, self.weights)

    @property
    def network(self):
        """The encoder in words."""
        return encoders.in_words(self.encoder, self.width, self.weights)

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


def _preset(dataset, method):
    kind = str(dataset).partition(":")[0]
    return PRESETS.get(kind, {}) | class_of(method).presets.get(kind, {})


def _nested(method, values):
    """Settings by name as `RunConfig` takes them: the method's together in `settings`."""
    kind = class_of(method)
    own = {field.name for field in options_of(kind)}
    strange = set(values) - own - {field.name for field in options_of(RunConfig)}
    if strange:
        raise TypeError(f"a run of {kind.title} has no option {', '.join(sorted(strange))}")
    nested = {name: value for name, value in values.items() if name not in own}
    return {**nested, "settings": {name: values[name] for name in values if name in own}}
