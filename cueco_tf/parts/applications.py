"""Networks of `keras.applications`, which take pixels from 0 to 255 here, of any channels."""

import inspect
import re
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops
from keras.src.backend.config import keras_home

from cueco_tf.settings.fields import ConfigError


def network_of(name, shape, weights):
    """A network of `keras.applications` with its preprocessing inside, from pixels 0 to 255.

    Args:
        name: its name there.
        shape: (height, width, channels) of the images. For other channels than three, what the
            preprocessing does to a channel is the same for each.
        weights: `"imagenet"`, of three channels, or None.

    Returns:
        A functional `keras.Model` that ends in global average pooling.

    Raises:
        ConfigError: where it cannot be made so, or the weights cannot be downloaded.
    """
    make = getattr(keras.applications, name)
    images, how = keras.Input(shape, name="images"), {}
    if shape[-1] != 3 and "include_preprocessing" in inspect.signature(make).parameters:
        how = {"include_preprocessing": False}  # it may know the means of three channels
        pixels = layers.Rescaling(1 / 127.5, -1.0, dtype="float32")(images)
    else:
        pixels = _prepared(layers.Rescaling(1.0, dtype="float32")(images), name)
    try:
        return make(include_top=False, weights=weights, input_tensor=pixels, pooling="avg", **how)
    except ValueError as error:  # images too small, say
        raise ConfigError(
            "encoder", "a network for this image size", f"{name}: {first_line(error)}"
        ) from error
    except Exception as error:  # the download's own
        address = re.search(r"https?://\S+?(?=:? )", f"{error} ")
        if weights is None or address is None:
            raise
        file = address.group().rsplit("/", 1)[-1]
        place = Path(keras_home(), "models", file)
        words = f"downloadable: without network put {address.group()} at {place}"
        raise ConfigError("weights", words, "imagenet") from error


def _prepared(pixels, name):
    """Pixels 0 to 255 as a network of `keras.applications` expects them.

    What Keras does to arrays is the same change a pixel, `matrix @ pixel + offset`; so it is found
    by what becomes of four pixels, and made by stock layers.
    """
    own = (vars(module) for module in vars(keras.applications).values() if hasattr(module, name))
    prepare = next((o["preprocess_input"] for o in own if "preprocess_input" in o), lambda x: x)
    probes = np.concatenate([np.zeros((1, 3)), np.eye(3)]).astype("float32")
    black, *basis = np.array(prepare(probes.reshape(4, 1, 1, 3).copy())).reshape(4, 3)
    matrix = np.stack(basis) - black  # (from, to)
    in_colour = pixels.shape[-1] == 3
    if not np.allclose(matrix, np.diag(np.diag(matrix))):
        pixels = ops.flip(pixels, axis=-1) if in_colour else pixels  # BGR
        matrix = matrix[::-1]
    scale, offset = np.diag(matrix), black
    if not in_colour:
        scale, offset = scale.mean(keepdims=True), offset.mean(keepdims=True)
    if np.allclose(scale, 1) and np.allclose(offset, 0):
        return pixels
    return layers.Rescaling(scale.tolist(), offset.tolist(), dtype="float32")(pixels)


def first_line(error):
    """The first line of what an exception says."""
    return str(error).strip().partition("\n")[0]
