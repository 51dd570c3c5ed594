"""From a configuration to a compiled model."""

import contextlib

import keras

from cueco_tf.methods.cueco import CueCo
from cueco_tf.parts.resnet import build_encoder


def build_model(config):
    """The compiled model of a resolved configuration.

    Weight decay is Keras's, decoupled: once a step every weight shrinks by learning rate times
    decay.
    """
    steps_per_epoch = config.steps_per_epoch
    total_steps = config.epochs * steps_per_epoch
    warmup, ramp = (
        None if epochs is None else round(epochs * steps_per_epoch)
        for epochs in (config.warmup_epochs, config.ramp_epochs)
    )
    rise = int(config.learning_rate_warmup * total_steps)
    keras.utils.set_random_seed(config.seed)
    with _dtype_policy(config.precision):
        encoder = build_encoder(
            config.encoder, config.width, config.image_size, sync_batchnorm=config.sync_batchnorm
        )
        model = CueCo(
            encoder,
            config.clusters,
            queue_size=config.queue_size,
            temperature=config.temperature,
            centroid_temperature=config.centroid_temperature,
            centroid_momentum=config.centroid_momentum,
            variance_momentum=config.variance_momentum,
            variance_floor=config.variance_floor,
            loss_weights=config.loss_weights,
            assign_by=config.assign_by,
            symmetric=config.symmetric,
            warmup_steps=warmup,
            ramp_steps=ramp,
            refresh_steps=config.refresh_steps,
            total_steps=total_steps,
            num_classes=config.num_classes,
            augment=config.augment(),
            seed=config.seed,
        )
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if rise else config.learning_rate,
        total_steps - rise,
        warmup_target=config.learning_rate if rise else None,
        warmup_steps=rise,
    )
    optimizer = keras.optimizers.SGD(schedule, momentum=0.9, weight_decay=config.weight_decay)
    model.compile(optimizer=optimizer, jit_compile=config.jit)
    # The model's own: under mixed_float16 Keras wraps it in one that scales the loss.
    model.optimizer.build(model.trainable_variables)
    return model


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
