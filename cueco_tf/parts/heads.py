"""The heads between an encoder's features and the space of the losses."""

import keras
from keras import layers


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
