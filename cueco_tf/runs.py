"""From a configuration or a run folder to a model."""

import contextlib
import dataclasses
from pathlib import Path

import keras

from cueco_tf import checkpoints
from cueco_tf.config import RunConfig
from cueco_tf.encoders import build_encoder, to_stock_layers
from cueco_tf.model import CueCo
from cueco_tf.run_folder import RunError, RunFolder


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


def inference_network(model):
    """A network of Keras's own layers: images -> `embedding` h and `projection` z."""
    encoder, head = to_stock_layers(model.encoder), to_stock_layers(model.head)
    images = keras.Input(model.image_shape, name="images")
    embedding = encoder(images)
    projection = keras.layers.UnitNormalization(name="normalize", dtype="float32")(head(embedding))
    return keras.Model(images, {"embedding": embedding, "projection": projection})


def save_network(path, network):
    """Saves a Keras model atomically."""

    def write(temporary):
        with_suffix = temporary.with_suffix(".writing.keras")  # Keras goes by the suffix
        try:
            network.save(with_suffix)
            with_suffix.replace(temporary)
        finally:
            with_suffix.unlink(missing_ok=True)

    checkpoints.write_atomically(path, write)


@dataclasses.dataclass(frozen=True)
class Run:
    """A run read back: its `config`, `model` (a `CueCo`), `metrics` (a dict an epoch) and
    `summary` (None until the run is finished)."""

    config: RunConfig
    model: CueCo
    metrics: list
    summary: dict | None


def load_run(run_dir, weights_only=False):
    """Reads a run back, finished or not, with the model in its newest state.

    Args:
        run_dir: path of a run folder.
        weights_only: leave the optimizer fresh: enough to use the model, and possible whatever
            the precision it was trained in. Defaults to False.

    Returns:
        `Run`.

    Raises:
        RunError: for a folder that is no run, or has no checkpoint yet.
    """
    folder = RunFolder(Path(run_dir))
    config = folder.read_config()
    model = build_model(config)
    if checkpoints.restore(folder.checkpoints, model, weights_only) is None:
        raise RunError(f"{folder.path} has no checkpoint yet: train it first.")
    return Run(config, model, folder.read_metrics(), folder.read_summary())


def load_encoder(run_dir):
    """The trained encoder of a finished run, in Keras's own layers and float32.

    Args:
        run_dir: path of a run folder.

    Returns:
        A `keras.Model` from images `(n, height, width, 3)`, pixels 0 to 255, to features
        `(n, features)`.

    Raises:
        RunError: for a folder that is no run, or whose run is not finished.
    """
    folder = RunFolder(Path(run_dir))
    folder.read_config()
    if not folder.encoder.is_file():
        raise RunError(
            f"The run in {folder.path} is not finished. Finish it with --resume, or take "
            f"load_run(...).model.encoder as it is now."
        )
    return keras.models.load_model(folder.encoder, safe_mode=True)
