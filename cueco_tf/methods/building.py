"""From a configuration to a compiled model."""

import contextlib
import os
import pkgutil
from pathlib import Path

import keras
import tensorflow as tf

from cueco_tf.data.augment import TwoViews
from cueco_tf.parts.encoders import encoder_of, from_bytes, to_bytes
from cueco_tf.parts.optimizers import LARS, SGD
from cueco_tf.process import seeded
from cueco_tf.settings.encoders import NO_WEIGHTS

_PROCESSOR = Path("/proc/cpuinfo")


def build_model(config, begun=None):
    """The compiled model of a resolved configuration.

    Args:
        config: `RunConfig`.
        begun: the encoder that the run began with, as `first_encoder` gives it; None to make it
            from the settings and what they name.

    Raises:
        ConfigError: for an encoder or weights that cannot be made, read or loaded.
    """
    config = fit_to_devices(config)
    with seeded(config.seed), _dtype_policy(config.precision):
        encoder = _encoder(config) if begun is None else from_bytes(begun, config.encoder)
        model = pkgutil.resolve_name(config.settings.model)(
            encoder,
            **config.settings.arguments(config.steps_per_epoch),
            total_steps=config.epochs * config.steps_per_epoch,
            num_classes=config.num_classes,
            augment=build_views(config),
            seed=config.seed,
        )
    model.compile(optimizer=build_optimizer(config), jit_compile=config.jit)
    # The model's own: under mixed_float16 Keras wraps it in one that scales the loss.
    model.optimizer.build(model.trainable_variables)
    return model


def first_encoder(config):
    """The encoder that a run of a resolved configuration begins with, as the bytes of a `.keras`
    file. Another time the settings may give another one: of what they name, files may have changed.

    Raises:
        ConfigError: for an encoder or weights that cannot be made, read or loaded.
    """
    config = fit_to_devices(config)
    with seeded(config.seed), _dtype_policy(config.precision):
        return to_bytes(_encoder(config))


def _encoder(config):
    return encoder_of(
        config.encoder,
        config.width,
        config.image_size,
        config.sync_batchnorm,
        None if config.weights == NO_WEIGHTS else config.weights,
        config.channels,
    )


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
        return config.on_devices(0, _has_amx())
    tf.config.experimental.enable_tensor_float_32_execution(False)
    return config.on_devices(tf.distribute.get_strategy().num_replicas_in_sync)


def _has_amx():
    """Whether the processor has AMX and oneDNN, which multiplies for TensorFlow, may use it."""
    most = os.environ.get("ONEDNN_MAX_CPU_ISA", "DEFAULT").upper()
    try:
        known = _PROCESSOR.read_text()
    except OSError:  # no Linux
        return False
    return "amx_bf16" in known.split() and (most in ("ALL", "DEFAULT") or "AMX" in most)


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
