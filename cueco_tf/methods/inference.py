"""A trained model as a network of Keras's own layers, and its file."""

import keras
import numpy as np
import tensorflow as tf

from cueco_tf.parts.batch_norm import to_stock_layers
from cueco_tf.storage import write_atomically


def inference_network(model):
    """A network of Keras's own layers: images -> `embedding` h and `projection` z."""
    encoder, head = to_stock_layers(model.encoder), to_stock_layers(model.head)
    images = keras.Input(model.image_shape, name="images")
    embedding = encoder(images)
    projection = keras.layers.UnitNormalization(name="normalize", dtype="float32")(head(embedding))
    return keras.Model(images, {"embedding": embedding, "projection": projection})


def save_network(path, network):
    """Saves a Keras model atomically, to a path that ends in `.keras`."""
    write_atomically(path, network.save)


def looks_at(network, image_shape):
    """The function that a network is in inference mode, whatever strategy it is trained under.

    Not `predict`, which XLA would compile on a GPU and several replicas would share.

    Args:
        network: a Keras model from images to vectors; its weights are read when it is called.
        image_shape: (height, width, channels).

    Returns:
        Function from images `(n, *image_shape)`, array or tensor, to a float32 `(n, dim)` array.
    """
    images = tf.TensorSpec((None, *image_shape), tf.float32)
    look = tf.function(lambda x: network(x, training=False), input_signature=[images])

    def function(images):
        return look(tf.cast(images, tf.float32)).numpy().astype(np.float32)

    return function
