"""A trained model as a network of Keras's own layers, and its file."""

import keras

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
