"""Networks that turn images into features: our own, Keras's, and those of users.

Whatever its origin, an encoder takes pixels from 0 to 255 and gives `(n, features)` in float32.
"""

import contextlib
import importlib
import tempfile
from pathlib import Path

import keras
from keras import layers

from cueco_tf.parts.applications import first_line, network_of
from cueco_tf.parts.batch_norm import FusedBatchNormalization
from cueco_tf.parts.resnet import build_encoder
from cueco_tf.settings.fields import ConfigError

# Keras's own, 0.99, averages over too many steps for short runs.
_MOMENTUM = 0.9


def encoder_of(name, width=64, image_size=32, sync_batchnorm=False, weights=None, channels=3):
    """The encoder that an option names.

    Args:
        name: `"resnet18"` and its like (`build_encoder`); `"keras:NAME"`, a network of
            `keras.applications` with its preprocessing inside; `"file:PATH.keras"`, a network from
            pixels 0 to 255 to features that Keras saved; `"python:MODULE:FUNCTION"`, a function of
            the image size that returns such a network.
        width: integer >= 1, of `build_encoder`; of no meaning to the others. Defaults to 64.
        image_size: integer, the height and width of the images. Defaults to 32.
        sync_batchnorm: whether BatchNormalization takes its statistics over the images of all
            replicas. Defaults to False.
        weights: `"imagenet"` for the published ones of a Keras network; the path of a `.keras` file
            whose network has weights of the same shapes, or of the folder of a finished run; or
            None for random ones, or the file's own. Defaults to None.
        channels: integer, the numbers of a pixel; the published weights are of 3. Defaults to 3.

    Returns:
        A functional `keras.Model` from images `(n, image_size, image_size, channels)` to float32
        features `(n, features)`. BatchNormalization is ours; dropout is left out, for its draws
        would not be those of the step's number.

    Raises:
        ConfigError: for what cannot be made, read or loaded; it says what to do.
    """
    kind, _, rest = name.partition(":")
    published = weights == "imagenet"
    if published and kind != "keras":
        raise ConfigError("weights", "a run or a .keras file for this encoder", weights)
    if published and channels != 3:
        raise ConfigError("weights", f"none for images of {channels} channels", weights)
    shape = image_size, image_size, channels
    if kind == "keras":
        network = network_of(rest, shape, "imagenet" if published else None)
    elif kind == "file":
        network = read_network(rest, "encoder")
    elif kind == "python":
        network = _from_function(rest, image_size)
    else:
        how = dict(sync_batchnorm=sync_batchnorm, channels=channels)
        network = build_encoder(name, width, image_size, **how)
    if rest:
        _check(network, name, shape)
        network = _adapted(network, shape, sync_batchnorm, of_file=kind == "file")
    if weights is not None and not published:
        file = Path(weights, "encoder.keras") if Path(weights).is_dir() else weights
        _copy_weights(read_network(file, "weights"), network, file)
    return network


def to_bytes(network):
    """A network as the content of a `.keras` file, exactly as it is."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.keras")
        network.save(path)
        return path.read_bytes()


def from_bytes(content, name):
    """The network of which `to_bytes` made the content.

    Args:
        content: bytes.
        name: of the encoder, as `encoder_of` takes it. The module of a function is imported, if it
            is still there: it may register layers of its own.

    Raises:
        ConfigError: where Keras cannot make the network again.
    """
    if name.startswith("python:"):
        with contextlib.suppress(Exception):  # of the user's own code: anything
            importlib.import_module(name.split(":")[1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.keras")
        path.write_bytes(content)
        try:
            return keras.models.load_model(path, compile=False, safe_mode=True)
        except Exception as error:  # Keras raises anything for what it cannot read
            words = (
                "a network that Keras can save and load with safe_mode, layers of its own "
                "registered by keras.saving.register_keras_serializable()"
            )
            raise ConfigError("encoder", words, f"{name} ({first_line(error)})") from error


def read_network(path, option):
    """A network that Keras saved as a `.keras` file, which is never unpickled.

    Args:
        path: of the file.
        option: the option that named it, for the error.

    Raises:
        ConfigError: for a file that is missing, or no such network.
    """
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises anything for what it cannot read
        reason = first_line(error) if Path(path).is_file() else "no such file"
        words = "a .keras file of a network that loads with safe_mode"
        raise ConfigError(option, words, f"{path} ({reason})") from error


def _from_function(place, image_size):
    module, _, function = place.partition(":")
    words = "python:MODULE:FUNCTION that can be imported (PYTHONPATH says from where)"
    try:
        make = getattr(importlib.import_module(module), function)
        words = f"a function of the image size, {image_size}, that returns a keras.Model"
        return make(image_size)
    except Exception as error:  # of the user's own code: anything
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise ConfigError("encoder", words, f"python:{place} ({reason})") from error


def _check(network, name, shape):
    """Refuses what does not turn such images into features."""
    if not isinstance(network, keras.Model) or not hasattr(network, "input_shape"):
        words = "a functional or sequential keras.Model that is built"
        raise ConfigError("encoder", words, f"{name}: {type(network).__name__}")
    taken, given = network.input_shape, network.output_shape
    image_size, _, channels = shape
    sizes = (None, image_size)
    if not (isinstance(taken, tuple) and len(taken) == 4 and taken[3] == channels):
        words = f"of one input (n, height, width, {channels})"
        raise ConfigError("encoder", words, f"{name}: {taken}")
    if taken[1] not in sizes or taken[2] not in sizes:
        words = f"a network for images of {image_size} pixels"
        raise ConfigError("encoder", words, f"{name}: {taken}")
    if not (isinstance(given, tuple) and len(given) == 2 and given[1] is not None):
        words = "a network that gives features (n, features): end it with global average pooling"
        raise ConfigError("encoder", words, f"{name}: {given}")


def _adapted(network, shape, synchronized, of_file):
    """The network with our BatchNormalization, what pixels go through in float32, and without
    dropout; weights included."""
    policy = keras.config.dtype_policy().name

    def own(layer):
        config = layer.get_config()
        if isinstance(layer, (layers.Rescaling, layers.Normalization)):
            config["dtype"] = "float32"  # bfloat16 would round pixels to integers
        elif of_file and "dtype" in config and isinstance(layer, layers.Layer):
            config["dtype"] = policy  # that of the process which saved it says nothing of this run
        if isinstance(layer, layers.BatchNormalization):
            config |= dict(momentum=_MOMENTUM, synchronized=synchronized)
            return FusedBatchNormalization.from_config(config)
        if "rate" in config and "Dropout" in type(layer).__name__:
            config["rate"] = 0.0
        return type(layer).from_config(config)

    images = keras.Input(shape, name="images")
    inputs = images
    if not isinstance(network, keras.Sequential):
        inputs = keras.tree.map_structure(lambda _: images, network.input)  # or a list of one
    try:
        copy = keras.models.clone_model(network, inputs, clone_function=own, recursive=True)
        copy.set_weights(network.get_weights())
    except Exception as error:  # of a layer's own code: anything
        words = "a network whose layers can be made anew from their get_config"
        raise ConfigError("encoder", words, f"{network.name} ({first_line(error)})") from error
    features = layers.Activation("linear", dtype="float32", name="features")(copy.outputs[0])
    return keras.Model(images, features, name=network.name)


def _copy_weights(source, network, path):
    """Weights of one network to another's, in the order of their layers."""
    given, own = source.get_weights(), network.weights
    for place, (value, weight) in enumerate(zip(given, own, strict=False)):
        if value.shape != tuple(weight.shape):
            words = f"a network whose weight {place} ({weight.path}) is {tuple(weight.shape)}"
            raise ConfigError("weights", words, f"{path}: {value.shape}")
    if len(given) != len(own):
        raise ConfigError("weights", f"a network of {len(own)} weights", f"{path}: {len(given)}")
    network.set_weights(given)
