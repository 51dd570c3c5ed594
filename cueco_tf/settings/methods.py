"""All methods' settings on one page, and what is said of each method. Never TensorFlow.

A method is a frozen dataclass here and the class of a Keras model, which it names.
"""

import dataclasses
import math
from typing import ClassVar

from cueco_tf.settings.choices import PLACED
from cueco_tf.settings.fields import ConfigError, check, convert, setting, settings_of
from cueco_tf.settings.presets import LARGEST_BATCH
from cueco_tf.settings.rules import (
    LARGEST,
    TEMPERATURE,
    Rule,
    at_least,
    at_most,
    between,
    count,
    numbers_in,
    one_of,
)


@dataclasses.dataclass(frozen=True)
class MethodSettings:
    """What a method can be told beside `RunConfig`. A subclass declares its settings, and:

    title: the method's name in print.
    summary: one line for lists of methods.
    reference: where it was published, a URL.
    model: the class of the model, `"package.module:Class"`.
    terms: the losses of which `loss` is made, as metrics.csv names them: the title of each in the
        line that is printed an epoch.
    columns: what else the method writes to metrics.csv: `(title, format)` in that line, or None.
    presets: what suits a kind of data set, as in `presets.PRESETS`: options of the method and of
        the run.
    least_batch: the fewest images a batch may have.
    """

    title: ClassVar[str]
    summary: ClassVar[str]
    reference: ClassVar[str]
    model: ClassVar[str]
    terms: ClassVar[dict]
    columns: ClassVar[dict]
    presets: ClassVar[dict] = {}
    least_batch: ClassVar[int] = 1

    def __post_init__(self):
        convert(self)
        check(self, vars(self))

    @classmethod
    def cells(cls):
        """The method's part of the line an epoch: `(title, metric, format)` of each cell."""
        terms = [(title, name, ".3f") for name, title in cls.terms.items()]
        return [*terms, *((cell[0], name, cell[1]) for name, cell in cls.columns.items() if cell)]

    def note(self, epoch, epochs):
        """What is to be said after an epoch's line, where it needs to be explained.

        Args:
            epoch: integer >= 1, the epochs that are done.
            epochs: integer, the length of training.

        Returns:
            A sentence, or None.
        """
        return None

    def resolve(self, train_images, num_classes):
        """Fills in what depends on the data set.

        Args:
            train_images: integer >= 2.
            num_classes: integer >= 2, or None where there are no labels.

        Raises:
            ConfigError: when the values do not fit the data set.
        """
        return self

    def arguments(self, steps_per_epoch):
        """The keyword arguments of the model's constructor, epochs turned into steps."""
        given = {}
        for field in settings_of(self):
            value = getattr(self, field.name)
            if field.metadata.get("per_epoch") and value is not None:
                value = round(value * steps_per_epoch)
            given[field.metadata.get("argument", field.name)] = value
        return given

    @classmethod
    def check_arguments(cls, **values):
        """Holds the arguments of the model's constructor against the rules of the settings.

        Args:
            **values: the arguments by the constructor's names, numbers that belong together as
                tuples.

        Raises:
            ValueError: it names the argument, its rule and what was received.
        """
        for field in settings_of(cls):
            name, rule = field.metadata.get("argument", field.name), field.metadata["rule"]
            if field.metadata.get("per_epoch"):
                rule = None if values.get(name) is None else at_least(0)
            words = rule.broken(values[name], values) if rule and name in values else None
            if words:
                raise ValueError(f"`{name}` should be {words}. Received: {name}={values[name]!r}")


@dataclasses.dataclass(frozen=True)
class CueCoSettings(MethodSettings):
    """The settings of CueCo.

    The evidence in the comments is from CIFAR-100, ResNet-10 of width 16, 10 epochs, scored on
    images held out of the training split: docs/results/defaults.md. It is small scale.
    """

    title = "CueCo"
    summary = "a queue of negatives, and clusters that follow and teach the encoder"
    reference = "https://arxiv.org/abs/2507.12359"
    model = "cueco_tf.methods.cueco:CueCo"
    terms = {"info_nce": "L1", "centroid_contrast": "L2", "cluster_variance": "L3"}
    columns = {
        "key_momentum": None,
        "usage_entropy": ("usage", ".2f"),
        "dead_clusters": ("dead", ".0f"),
        "reseeded_clusters": ("re-seeded", ".0f"),
        "mean_variance": None,
    }
    presets = {
        # Three seeds, NMI and ACC of the training images: crops from 0.2 on 84.3 and 83.6; from 0.5
        # on, with slow clusters, 87.6 and 89.7; these 90.0 and 93.4. See docs/results/defaults.md.
        "digits": dict(
            clusters=10,
            queue_size=1024,
            centroid_temperature=0.2,
            loss_weights=(1.0, 0.3, 0.3),
            ramp_epochs=0,
        ),
        "imagenet100": dict(queue_size=16384),
    }

    queue_size: int = setting(  # 16384: k-NN 0.8 behind after 5 epochs, a fifth slower
        4096, count(2), "negatives; at most the number of images", metavar="K"
    )
    # k-NN beside L1 alone: 1000 level (two seeds), 300 at half the weight +0.2, 100 -1.1 to -1.4.
    clusters: int | None = setting(
        None,
        between(2, "queue_size"),
        "many small clusters make better features than a cluster a class",
        metavar="L",
        unset="ten times the number of classes, 1000 where unknown; at most a quarter of the queue",
        argument="num_clusters",
        resolved=True,
    )
    hidden_dim: int = setting(2048, at_least(1) & at_most(LARGEST), "width of the projection head")
    projection_dim: int = setting(128, at_least(1) & at_most(LARGEST), "length of the projection z")
    temperature: float = setting(0.2, TEMPERATURE, "of the contrastive loss")
    # With 0.1 and 0.2 (100 clusters, or 1000 at a weight of 2): NMI as without the second loss,
    # k-NN -1.1 to -1.6. The momenta were changed with the refreshing, not each alone.
    centroid_temperature: float = setting(
        0.05, TEMPERATURE, "of the centroid loss's softmax, above 0"
    )
    key_momentum: tuple = setting(
        (0.99, 0.999),
        numbers_in(2, 0, 1),
        "of the key encoder, in [0, 1], along half a cosine over the training",
        metavar=("START", "END"),
    )
    centroid_momentum: float = setting(  # 0.99 and 0.9, without refreshing: nothing gained
        0.5,
        between(0, 1),
        "of the centroids, in [0, 1]; near 1 they move slowly and fall behind the encoder",
    )
    variance_momentum: float = setting(0.5, between(0, 1), "of the clusters' variances, in [0, 1]")
    variance_floor: float = setting(
        0.01,
        between(0, 4, "(]"),
        "no cluster's variance falls below it, which bounds the variance loss's pull",
    )
    # Two seeds, beside the first loss alone: k-NN +1.2, linear +0.7, NMI +0.4, ACC +0.3, ARI +0.2.
    # Second 2: about as much; 5: half of it, one seed.
    loss_weights: tuple = setting(
        (1.0, 3.0, 0.02),
        numbers_in(3, 0, LARGEST, any, "not all 0"),
        "of the contrastive, centroid and variance losses; 1 0 0 is MoCo",
        metavar=("L1", "L2", "L3"),
    )
    # By the query, weights 1, 1, 0.02 at once: k-NN -2.9, linear -2.6.
    assign_by: str = setting(
        "key",
        one_of("key", "query"),
        "key: a query's cluster is that of the other view's key; query: its own nearest",
        metavar="VIEW",
    )
    symmetric: bool = setting(
        False, None, "use each view once as query and once as key: twice the work a step"
    )
    # 1.5 of ten epochs: level.
    warmup_epochs: float | None = setting(
        None,
        between(0, "epochs"),
        "epochs on the contrastive loss alone, before the clusters start",
        unset="3 in 10",
        argument="warmup_steps",
        per_epoch=True,
    )
    # 0, at once, with the second weight at 1: k-NN +0.1, NMI +0.3; at 2: two points of k-NN lost.
    ramp_epochs: float | None = setting(
        None,
        between(0, LARGEST),
        "epochs after the warm-up over which L2 and L3 rise to their full weight; 0: at once",
        unset="all that are left",
        argument="ramp_steps",
        per_epoch=True,
    )
    refresh_steps: int = setting(  # never: each pull tried cost k-NN
        50, count(0), "every N steps, k-means makes the clusters anew; 0 for never"
    )

    def note(self, epoch, epochs):
        """As `MethodSettings.note`: once the clusters begin to pull, the loss may rise."""
        warmup = 0.3 * epochs if self.warmup_epochs is None else self.warmup_epochs
        left = epochs - warmup if self.ramp_epochs is None else self.ramp_epochs
        begins = epoch == max(1, math.ceil(warmup)) and epoch < epochs
        if not any(self.loss_weights[1:]) or not begins:
            return None
        rising = f", with a weight that rises over {left:g} epochs" if left else ""
        return f"The clusters pull from here on (L2, L3){rising}: the loss may rise with it."

    def resolve(self, train_images, num_classes):
        """As `MethodSettings.resolve`: `queue_size` is cut to the number of images, `clusters`
        becomes ten times the number of classes, at most a quarter of the queue."""
        queue_size = min(self.queue_size, train_images)
        clusters = self.clusters or max(2, min(10 * (num_classes or 100), queue_size // 4))
        return dataclasses.replace(self, queue_size=queue_size, clusters=clusters)


# The rivals' recipes are those that solo-learn published with its figures for ResNet-18, their
# learning rate for 256 images a batch: docs/methods says where they leave the papers. On the digits
# they take CueCo's augmentation, smaller heads, and of two optimizers and two rates the pair with
# the highest sum of k-NN and NMI on training images held out: docs/results/rivals.md. VICReg has
# the lowest rate: with the others short trainings end in NaN.
_CIFAR = dict(epochs=1000, batch_size=256, learning_rate_warmup=0.01)
_IMAGENET100 = dict(epochs=400, batch_size=256, learning_rate_warmup=0.025)
_COLOURS = dict(jitter=(0.4, 0.4, 0.2, 0.1), crop_scale=(0.08, 1.0), blur=0.0, solarise=0.0)
_ONE_SOLARISED = _COLOURS | dict(solarise=0.2)
_STRONG = _COLOURS | dict(jitter=(0.8, 0.8, 0.8, 0.2), blur=0.5)
_ONE_BLURRED = dict(first_blur=1.0, blur=0.1)
_DIGITS_SGD = dict(learning_rate=0.8, hidden_dim=512)
_DIGITS_LARS = dict(optimizer="lars", learning_rate=0.6, weight_decay=1e-4, hidden_dim=512)


def _presets(recipe, imagenet100, digits):
    """The presets of a published recipe; what differs on large images, and on the digits."""
    small = recipe | _CIFAR
    return {
        "digits": digits,
        "cifar10": small,
        "cifar100": small,
        "imagenet100": recipe | _IMAGENET100 | imagenet100,
        **dict.fromkeys(PLACED, recipe),
    }


def _width(default, help):
    return setting(default, at_least(1) & at_most(LARGEST), help)


def _momentum(start, end):
    return setting(
        (start, end),
        numbers_in(2, 0, 1),
        "of the slow networks, in [0, 1], along half a cosine over the training",
        metavar=("START", "END"),
    )


@dataclasses.dataclass(frozen=True)
class MoCoV2Settings(MethodSettings):
    """The settings of MoCo-v2, by default those of the "+" variant: both directions, wider heads.

    Published were one direction, `hidden_dim` the encoder's features, `projection_dim` 128, and a
    run with crops from 0.2 on at a learning rate of 0.03.
    """

    title = "MoCo-v2"
    summary = "a query finds its key among a queue of other images' keys"
    reference = "https://arxiv.org/abs/2003.04297"
    model = "cueco_tf.methods.moco_v2:MoCoV2"
    terms = {"info_nce": "L"}
    columns = {"key_momentum": None}
    presets = _presets(
        # Coupled, the decay is 1e-4.
        _COLOURS
        | dict(learning_rate=0.3, weight_decay=1e-3, jitter=(0.4, 0.4, 0.4, 0.1), blur=0.5),
        imagenet100=dict(queue_size=65536),
        digits=_DIGITS_SGD | dict(queue_size=1024, projection_dim=128),
    )

    queue_size: int = setting(
        32768, count(2), "negatives a direction; at most the number of images", metavar="K"
    )
    hidden_dim: int = _width(2048, "width of the projection head")
    projection_dim: int = _width(256, "length of the projection z")
    temperature: float = setting(0.2, TEMPERATURE, "of the loss")
    key_momentum: tuple = _momentum(0.99, 0.999)
    symmetric: bool = setting(
        True, None, "each view is once query and once key, with a queue for each"
    )

    def resolve(self, train_images, num_classes):
        """As `MethodSettings.resolve`: `queue_size` is cut to the number of images."""
        return dataclasses.replace(self, queue_size=min(self.queue_size, train_images))


@dataclasses.dataclass(frozen=True)
class SimCLRSettings(MethodSettings):
    """The settings of SimCLR. Its head is without BatchNormalization, as in solo-learn."""

    title = "SimCLR"
    summary = "a view finds its partner among all other views of the batch"
    reference = "https://arxiv.org/abs/2002.05709"
    model = "cueco_tf.methods.simclr:SimCLR"
    terms = {"nt_xent": "L"}
    columns = {}
    least_batch = 2
    presets = _presets(
        _STRONG | dict(optimizer="lars", learning_rate=0.4, weight_decay=1e-4),
        imagenet100=dict(hidden_dim=4096, projection_dim=512),
        digits=_DIGITS_LARS | dict(projection_dim=128),
    )

    hidden_dim: int = _width(2048, "width of the projection head")
    projection_dim: int = _width(256, "length of the projection z")
    temperature: float = setting(0.2, TEMPERATURE, "of the loss")


@dataclasses.dataclass(frozen=True)
class BYOLSettings(MethodSettings):
    """The settings of BYOL."""

    title = "BYOL"
    summary = "a view predicts, without negatives, what a slow network makes of the other"
    reference = "https://arxiv.org/abs/2006.07733"
    model = "cueco_tf.methods.byol:BYOL"
    terms = {"regression": "L"}
    columns = {"key_momentum": None}
    least_batch = 2
    presets = _presets(
        _ONE_SOLARISED | dict(optimizer="lars", learning_rate=1.0, weight_decay=1e-5),
        imagenet100=_ONE_BLURRED | dict(learning_rate=0.5, weight_decay=1e-6, predictor_dim=8192),
        digits=_DIGITS_SGD | dict(projection_dim=128, predictor_dim=512),
    )

    hidden_dim: int = _width(4096, "width of the projection head")
    projection_dim: int = _width(256, "length of the projection z")
    predictor_dim: int = _width(4096, "width of the predictor")
    key_momentum: tuple = _momentum(0.99, 1.0)


@dataclasses.dataclass(frozen=True)
class VICRegSettings(MethodSettings):
    """The settings of VICReg."""

    title = "VICReg"
    summary = "views agree, and the numbers of z vary and are uncorrelated over the batch"
    reference = "https://arxiv.org/abs/2105.04906"
    model = "cueco_tf.methods.vicreg:VICReg"
    terms = {"invariance": "L1", "variance": "L2", "covariance": "L3"}
    columns = {}
    least_batch = 2
    presets = _presets(
        _COLOURS
        | dict(optimizer="lars", learning_rate=0.3, weight_decay=1e-4, crop_scale=(0.2, 1.0))
        | dict(solarise=0.1, first_solarise=0.1),
        imagenet100=dict(blur=0.5),
        digits=dict(hidden_dim=512, projection_dim=512),
    )

    hidden_dim: int = _width(2048, "width of the projection head's two hidden layers")
    projection_dim: int = _width(2048, "length of the projection z")
    loss_weights: tuple = setting(
        (25.0, 25.0, 1.0),
        numbers_in(3, 0, LARGEST, any, "not all 0"),
        "of invariance, variance and covariance",
        metavar=("L1", "L2", "L3"),
    )


def _enough_for_all(prototypes, others):
    """Balancing gives each prototype as many images, of the batch and of the queue."""
    if "batch_size" not in others:
        return None
    most = (others["batch_size"] or LARGEST_BATCH) + others["queue_size"]
    return None if prototypes <= most else f"at most batch_size + queue_size={most}"


@dataclasses.dataclass(frozen=True)
class SwAVSettings(MethodSettings):
    """The settings of SwAV, with two views of the same size."""

    title = "SwAV"
    summary = "a view predicts the other's share in prototypes that are all used alike"
    reference = "https://arxiv.org/abs/2006.09882"
    model = "cueco_tf.methods.swav:SwAV"
    terms = {"swapped_prediction": "L"}
    columns = {}
    least_batch = 2
    presets = _presets(
        _STRONG
        | dict(optimizer="lars", learning_rate=0.6, weight_decay=1e-6)
        | dict(prototypes_start_epochs=2.0, queue_start_epochs=50.0),
        imagenet100={},
        digits=_DIGITS_LARS | dict(prototypes=100, queue_size=0, prototypes_start_epochs=2.0),
    )

    hidden_dim: int = _width(2048, "width of the projection head")
    projection_dim: int = _width(128, "length of the projection z")
    prototypes: int = setting(
        3000,
        between(2, LARGEST) & Rule(_enough_for_all),
        "directions that stand for clusters; at most the images of a batch and the queue",
        metavar="L",
        argument="num_prototypes",
    )
    temperature: float = setting(0.1, TEMPERATURE, "of the prediction")
    epsilon: float = setting(
        0.05, between(0.025, LARGEST), "smoothness of the shares, at least 0.025"
    )
    queue_size: int = setting(
        3840,
        count(0),
        "earlier projections a view that are balanced with the batch; at most the number of "
        "images, 0 for none",
        metavar="K",
    )
    queue_start_epochs: float = setting(
        0.0,
        between(0, LARGEST),
        "epochs before the queue counts",
        argument="queue_start_steps",
        per_epoch=True,
    )
    prototypes_start_epochs: float = setting(
        0.0,
        between(0, LARGEST),
        "epochs before the prototypes learn",
        argument="freeze_steps",
        per_epoch=True,
    )

    def resolve(self, train_images, num_classes):
        """As `MethodSettings.resolve`: `queue_size` is cut to the number of images, `prototypes` to
        a quarter of it."""
        queue_size = min(self.queue_size, train_images)
        prototypes = min(self.prototypes, max(2, train_images // 4))
        return dataclasses.replace(self, queue_size=queue_size, prototypes=prototypes)


@dataclasses.dataclass(frozen=True)
class MoCoV3Settings(MethodSettings):
    """The settings of MoCo-v3."""

    title = "MoCo-v3"
    summary = "a view predicts its key among the slow network's keys of the batch"
    reference = "https://arxiv.org/abs/2104.02057"
    model = "cueco_tf.methods.moco_v3:MoCoV3"
    terms = {"in_batch": "L"}
    columns = {"key_momentum": None}
    least_batch = 2
    presets = _presets(
        _ONE_SOLARISED | dict(optimizer="lars", learning_rate=0.3, weight_decay=1e-6),
        imagenet100=_ONE_BLURRED,
        digits=_DIGITS_SGD | dict(projection_dim=128, predictor_dim=512),
    )

    hidden_dim: int = _width(4096, "width of the projection head")
    projection_dim: int = _width(256, "length of the projection z")
    predictor_dim: int = _width(4096, "width of the predictor")
    temperature: float = setting(0.2, TEMPERATURE, "of the loss")
    key_momentum: tuple = _momentum(0.99, 1.0)


METHODS = {
    "cueco": CueCoSettings,
    "moco_v2": MoCoV2Settings,
    "simclr": SimCLRSettings,
    "byol": BYOLSettings,
    "vicreg": VICRegSettings,
    "swav": SwAVSettings,
    "moco_v3": MoCoV3Settings,
}


def models():
    """The place of each method's Keras class: pairs of a module and a name."""
    return [kind.model.split(":") for kind in METHODS.values()]


def class_of(method):
    """The settings class of a method.

    Raises:
        ConfigError: where there is no such method.
    """
    if not isinstance(method, str) or method not in METHODS:
        raise ConfigError("method", f"one of {', '.join(METHODS)}", method)
    return METHODS[method]
