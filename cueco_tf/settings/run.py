"""The configuration of a training run: defaults, presets of the data sets, checks, JSON.

Imports nothing heavy, so the command line can teach and refuse without TensorFlow.
"""

import dataclasses
import json
from pathlib import Path

from cueco_tf.settings.fields import ConfigError, as_declared, each_once
from cueco_tf.settings.presets import PRESETS

DATASETS = ("digits", "cifar10", "cifar100", "imagenet100", "folder:PATH", "tfds:NAME")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
# Below, rounding of a similarity in float32 (6e-8) is no longer small against the temperature.
MINIMUM_TEMPERATURE = 1e-4
_LARGEST = 2**14  # of what has no bound of its own: far above all use, far below overflow
ENCODER_NAMES = ("resnet10", "resnet18", "resnet34", "resnet50")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's result. Field names are those of the command line.

    `None` stands for "the data set's own": `clusters` becomes ten times its number of classes (1000
    where unknown; at most a quarter of the queue), `queue_size` is cut to its number of images,
    and `image_size` is its native size.

    The evidence in the comments is from CIFAR-100, ResNet-10 of width 16, 10 epochs, scored on
    images held out of the training split: docs/results/defaults.md. It is small scale.
    """

    dataset: str
    encoder: str = "resnet18"
    width: int = 64
    image_size: int | None = None
    epochs: int = 200
    batch_size: int = 256
    # Against 0.12: k-NN +1.2, NMI +0.5. At the given batch size; cosine to 0 after the warm-up.
    learning_rate: float = 0.4
    weight_decay: float = 1e-3  # decoupled; with momentum 0.9 about PyTorch's coupled 1e-4
    learning_rate_warmup: float = 0.1  # epochs of linear rise, as a share of all
    # k-NN beside L1 alone: 1000 level (two seeds), 300 at half the weight +0.2, 100 -1.1 to -1.4.
    clusters: int | None = None
    queue_size: int = 4096  # 16384: k-NN 0.8 behind after 5 epochs, a fifth slower
    temperature: float = 0.2
    # Of the second loss. With 0.1 and 0.2 (100 clusters, or 1000 at a weight of 2): NMI as without
    # it, k-NN -1.1 to -1.6. The momenta were changed with the refreshing, not each alone.
    centroid_temperature: float = 0.05
    centroid_momentum: float = 0.5  # 0.99 and 0.9, without refreshing: nothing gained at any weight
    variance_momentum: float = 0.5
    variance_floor: float = 0.01
    # Two seeds, beside the first loss alone: k-NN +1.2, linear +0.7, NMI +0.4, ACC +0.3, ARI +0.2.
    # Second 2: about as much; 5: half of it, one seed.
    loss_weights: tuple = (1.0, 3.0, 0.02)
    assign_by: str = "key"  # by the query, weights 1, 1, 0.02 at once: k-NN -2.9, linear -2.6
    symmetric: bool = False
    sync_batchnorm: bool = False  # statistics of all replicas' images; slower
    # On the contrastive loss alone; None: three tenths of all. 1.5 of ten epochs: level.
    warmup_epochs: float | None = None
    # Over which the second and third weight rise; None: all that follow the warm-up. 0, at once,
    # with the second at 1: k-NN +0.1, NMI +0.3; at 2: two points of k-NN lost.
    ramp_epochs: float | None = None
    # So often k-means makes the clusters anew; 0: never, and then each pull tried cost k-NN.
    refresh_steps: int = 50
    crop_scale: tuple = (0.2, 1.0)
    flip: float = 0.5
    jitter: tuple = (0.4, 0.4, 0.4, 0.1)
    gray: float = 0.2
    blur: float | None = None  # None: 0.5 and 0.2 for images above 64 pixels, else 0
    solarise: float | None = None
    holdout: float = 0.0  # share of the training images to score on, in place of the test split
    precision: str = "float32"  # of activations and gradients; all state is float32
    jit: bool = False  # compile the step with XLA, which rounds and draws differently
    seed: int = 0
    train_images: int | None = None  # filled in by `resolve`, as is what follows
    num_classes: int | None = None
    fingerprint: str | None = None  # of the training images: see `data.load_for`

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = as_declared(field, getattr(self, field.name))
            object.__setattr__(self, field.name, value)
        for name, rule, holds in self._rules():
            if not holds:
                raise ConfigError(name, rule, getattr(self, name))

    def _rules(self):
        kind, _, rest = self.dataset.partition(":")
        known = kind in PRESETS and bool(rest) == (kind in ("folder", "tfds"))
        yield "dataset", f"one of {', '.join(DATASETS)}", known
        yield "encoder", f"one of {', '.join(ENCODER_NAMES)}", self.encoder in ENCODER_NAMES
        for name in ("width", "epochs", "batch_size"):
            yield name, "at least 1", getattr(self, name) >= 1
        yield "image_size", "at least 8", self.image_size is None or self.image_size >= 8
        for name in ("width", "image_size"):
            yield name, f"at most {_LARGEST}", (getattr(self, name) or 0) <= _LARGEST
        counts = ("epochs", "batch_size", "queue_size", "refresh_steps")
        for name in (*counts, "train_images", "num_classes"):
            yield name, "below 2**31", (getattr(self, name) or 0) < 2**31
        for name in ("train_images", "num_classes"):
            yield name, "at least 2", getattr(self, name) is None or getattr(self, name) >= 2
        yield "learning_rate", "positive", self.learning_rate > 0
        yield "weight_decay", "at least 0", self.weight_decay >= 0
        yield "learning_rate_warmup", "in [0, 1)", 0 <= self.learning_rate_warmup < 1
        yield "queue_size", "at least 2", self.queue_size >= 2
        if self.clusters is not None:
            yield "clusters", "at least 2", self.clusters >= 2
            rule = f"at most the queue size, {self.queue_size}"
            yield "clusters", rule, self.clusters <= self.queue_size
        for name in ("temperature", "centroid_temperature"):
            value = getattr(self, name)
            yield name, "positive", value > 0
            yield name, f"at least {MINIMUM_TEMPERATURE}", value >= MINIMUM_TEMPERATURE
            yield name, f"at most {_LARGEST}", value <= _LARGEST
        for name in ("learning_rate", "weight_decay", "ramp_epochs"):
            yield name, f"at most {_LARGEST}", (getattr(self, name) or 0) <= _LARGEST
        for name in ("centroid_momentum", "variance_momentum"):
            yield name, "in [0, 1]", 0 <= getattr(self, name) <= 1
        yield "variance_floor", "in (0, 4]", 0 < self.variance_floor <= 4
        for name in ("ramp_epochs", "refresh_steps"):
            yield name, "at least 0", (getattr(self, name) or 0) >= 0
        weights = self.loss_weights
        three = len(weights) == 3 and all(0 <= w <= _LARGEST for w in weights) and any(weights)
        yield "loss_weights", f"three numbers in [0, {_LARGEST}], not all 0", three
        yield "assign_by", '"key" or "query"', self.assign_by in ("key", "query")
        if self.warmup_epochs is not None:
            within = 0 <= self.warmup_epochs <= self.epochs
            yield "warmup_epochs", f"in [0, epochs={self.epochs}]", within
        scale, jitter = self.crop_scale, self.jitter
        within = len(scale) == 2 and 0 < scale[0] <= scale[1] <= 1
        yield "crop_scale", "(least, most) with 0 < least <= most <= 1", within
        four = len(jitter) == 4 and all(0 <= j <= _LARGEST for j in jitter) and jitter[3] <= 0.5
        yield "jitter", f"four numbers in [0, {_LARGEST}], the last at most 0.5", four
        for name in ("flip", "gray", "blur", "solarise"):
            value = getattr(self, name)
            yield name, "in [0, 1]", value is None or 0 <= value <= 1
        yield "holdout", "in [0, 1)", 0 <= self.holdout < 1
        yield "precision", f"one of {', '.join(PRECISIONS)}", self.precision in PRECISIONS
        yield "seed", "in [0, 2**31)", 0 <= self.seed < 2**31

    @classmethod
    def for_dataset(cls, dataset, **given):
        """The preset of a data set, with what is given (and not None) in place of its values."""
        preset = PRESETS.get(dataset.partition(":")[0], {})
        given = {name: value for name, value in given.items() if value is not None}
        return cls(dataset=dataset, **{**preset, **given})

    def resolve(self, train_images, image_size, num_classes):
        """Fills in what depends on the data set.

        Raises:
            ConfigError: when the values do not fit the data set.
        """
        queue_size = min(self.queue_size, train_images)
        clusters = self.clusters or max(2, min(10 * (num_classes or 100), queue_size // 4))
        return dataclasses.replace(
            self,
            train_images=train_images,
            image_size=image_size,
            num_classes=num_classes,
            queue_size=queue_size,
            clusters=clusters,
            blur=(0.5 if image_size > 64 else 0.0) if self.blur is None else self.blur,
            solarise=(0.2 if image_size > 64 else 0.0) if self.solarise is None else self.solarise,
        )

    @property
    def steps_per_epoch(self):
        """Batches an epoch, the last of which may be smaller."""
        return -(-self.train_images // self.batch_size)

    def augment(self):
        """The two-view augmentation of this configuration."""
        from cueco_tf.data.augment import TwoViews  # needs TensorFlow

        return TwoViews(
            crop_scale=self.crop_scale,
            flip=self.flip,
            jitter=self.jitter,
            gray=self.gray,
            blur=self.blur,
            solarise=self.solarise,
        )

    def save(self, path):
        """Writes the configuration as JSON."""
        Path(path).write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path):
        """Reads the resolved configuration of a run, written by `save`.

        Raises:
            ValueError: for what is no JSON object, fields that this version does not know, fields
                that are missing or there twice, or values of a wrong type or out of range.
        """
        try:
            fields = json.loads(Path(path).read_text("utf-8"), object_pairs_hook=each_once)
        except RecursionError:
            fields = None
        if not isinstance(fields, dict):
            raise ValueError("It should hold one JSON object.")
        unknown = set(fields) - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise ValueError(f"It holds unknown fields: {', '.join(sorted(unknown))}.")
        for name in ("dataset", "train_images", "image_size", "clusters"):
            if fields.get(name) is None:
                raise ValueError(f"It says nothing of {name}.")
        return cls(**fields)

    def differences(self, other):
        """Fields in which two configurations differ: `{name: (own value, other value)}`."""
        own, others = dataclasses.asdict(self), dataclasses.asdict(other)
        return {name: (own[name], others[name]) for name in own if own[name] != others[name]}
