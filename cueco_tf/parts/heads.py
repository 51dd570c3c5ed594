"""The heads between an encoder's features and the space of the losses."""

import keras
from keras import layers

from cueco_tf.parts.batch_norm import FusedBatchNormalization


def build_projection_head(features, hidden_dim=2048, projection_dim=128, seed=0):
    """Builds the head Dense - ReLU - Dense that maps features to the space of the losses.

    Args:
        features: integer >= 1, the length of the encoder's output.
        hidden_dim: integer >= 1. Defaults to 2048.
        projection_dim: integer >= 1. Defaults to 128.
        seed: integer, for the initial weights. Defaults to 0.

    Returns:
        A functional `keras.Model` from `(n, features)` to float32 `(n, projection_dim)`, not yet
        normalised.

    Reference: MoCo-v2, https://arxiv.org/abs/2003.04297.
    """
    inputs = keras.Input((features,), name="features")
    x = layers.Dense(
        hidden_dim, activation="relu", kernel_initializer=keras.initializers.HeNormal(seed=seed)
    )(inputs)
    x = layers.Dense(
        projection_dim,
        kernel_initializer=keras.initializers.GlorotUniform(seed=seed + 1),
        dtype="float32",
        name="projection",
    )(x)
    return keras.Model(inputs, x, name="projection_head")


def mlp(features, widths, norm=True, last_bias=True, last_norm=False, seed=0, name="head"):
    """Builds the head Dense - BatchNormalization - ReLU - ... - Dense.

    BatchNormalization takes its statistics over the images of all replicas. A Dense layer before
    one has no bias, which it would take away again.

    Args:
        features: integer >= 1, the length of the input.
        widths: integers >= 1, the lengths of the hidden layers and, last, of the output.
        norm: whether hidden layers are normalised. Defaults to True.
        last_bias: whether the last layer has a bias. Defaults to True.
        last_norm: whether the output is normalised too, without scale and shift and, before it,
            a bias. Defaults to False.
        seed: integer, for the initial weights. Defaults to 0.
        name: text, the network's. Defaults to `"head"`.

    Returns:
        A functional `keras.Model` from `(n, features)` to float32 `(n, widths[-1])`.
    """
    x = inputs = keras.Input((features,), name="features")
    for i, width in enumerate(widths[:-1]):
        kernel = keras.initializers.HeNormal(seed=seed + i)
        x = layers.Dense(width, use_bias=not norm, kernel_initializer=kernel)(x)
        x = layers.ReLU()(_batch_norm()(x) if norm else x)  # (n, width)
    x = layers.Dense(
        widths[-1],
        use_bias=last_bias and not last_norm,
        kernel_initializer=keras.initializers.GlorotUniform(seed=seed + len(widths)),
        dtype="float32",
    )(x)
    if last_norm:
        x = _batch_norm(center=False, scale=False, dtype="float32")(x)
    return keras.Model(inputs, x, name=name)


def _batch_norm(**options):
    return FusedBatchNormalization(momentum=0.9, epsilon=1e-5, synchronized=True, **options)
