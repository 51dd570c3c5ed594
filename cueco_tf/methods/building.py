"""From a configuration to a compiled model."""

import contextlib
import pkgutil

import keras
import tensorflow as tf

from cueco_tf.data.augment import TwoViews
from cueco_tf.parts.optimizers import LARS, SGD
from cueco_tf.parts.resnet import build_encoder
from cueco_tf.process import seeded


def build_model(config):
    """The compiled model of a resolved configuration."""
    config = fit_to_devices(config)
    with seeded(config.seed), _dtype_policy(config.precision):
        encoder = build_encoder(
            config.encoder, config.width, config.image_size, sync_batchnorm=config.sync_batchnorm
        )
        model = pkgutil.resolve_name(config.settings.model)(
            encoder,
            **config.settings.arguments(config.steps_per_epoch),
            total_steps=config.epochs * config.steps_per_epoch,
            num_classes=config.num_classes,
            augment=build_views(config),
            seed=config.seed,
        )
    # A run that was begun on one device may go on on several, whose step is not compiled.
    alone = tf.distribute.get_strategy().num_replicas_in_sync == 1
    model.compile(optimizer=build_optimizer(config), jit_compile=config.jit and alone)
    # The model's own: under mixed_float16 Keras wraps it in one that scales the loss.
    model.optimizer.build(model.trainable_variables)
    return model


def build_optimizer(config):
    """The optimizer of a resolved configuration, with the schedule of its learning rate.

    The weight decay of SGD is Keras's, decoupled: once a step every weight shrinks by learning rate
    times decay.
    """
    total_steps = config.epochs * config.steps_per_epoch
    rise = int(config.learning_rate_warmup * total_steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if rise else config.learning_rate,
        total_steps - rise,
        warmup_target=config.learning_rate if rise else None,
        warmup_steps=rise,
    )
    kind = {"sgd": SGD, "lars": LARS}[config.optimizer]
    return kind(schedule, momentum=config.momentum, weight_decay=config.weight_decay)


def fit_to_devices(config):
    """A configuration with what depends on the devices of the strategy in force filled in.

    Float32 is made to mean that: on GPUs TensorFlow would round the factors of matrix products to
    TF32, 3e-4 of their size, and losses divide similarities by temperatures down to 1e-4.
    """
    if not tf.config.list_logical_devices("GPU"):
        return config.on_gpus(0)
    tf.config.experimental.enable_tensor_float_32_execution(False)
    return config.on_gpus(tf.distribute.get_strategy().num_replicas_in_sync)


def build_views(config):
    """The augmentation of a resolved configuration: `TwoViews`."""
    names = ("crop_scale", "flip", "jitter", "gray", "blur", "solarise")
    given = {name: getattr(config, name) for name in (*names, "first_blur", "first_solarise")}
    return TwoViews(**given)


@contextlib.contextmanager
def _dtype_policy(name):
    """Makes layers of a dtype policy while it is entered, and leaves the process's own as it was.

    Layers keep the policy they were made with.
    """
    former = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(former)
