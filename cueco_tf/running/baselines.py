"""Networks that a trained encoder has to beat."""

import keras

from cueco_tf.evaluation.networks import pixel_network
from cueco_tf.parts.encoders import from_bytes
from cueco_tf.parts.resnet import build_encoder
from cueco_tf.process import seeded
from cueco_tf.running.starting import read_start
from cueco_tf.settings.encoders import is_resnet


def baselines(run, folder):
    """Networks to compare a run's encoder with, by their prefix in `evaluation.table.BASELINES`.

    Args:
        run: `Run`.
        folder: its `RunFolder`.

    Returns:
        A dict of Keras models from images to vectors: the encoder as the run began, where it keeps
        that; one like it, drawn at random by the run's seed; the pixels themselves.

    Raises:
        RunError, ConfigError: for a `start.keras` that is not the run's, or cannot be read.
    """
    config, found = run.config, {}
    begun = read_start(folder, config)
    if begun is not None:
        found["start_"] = from_bytes(begun, config.encoder)
    with seeded(config.seed):
        if is_resnet(config.encoder):
            how = config.encoder, config.width, config.image_size
            found["random_"] = build_encoder(*how, channels=config.channels)
        else:
            found["random_"] = keras.models.clone_model(run.model.encoder)
    found["raw_"] = pixel_network(config.image_size, config.channels)
    return found
