"""What is asked of an encoder, before anything is built on it."""

import numbers

import keras


def checked_encoder(encoder, image_size=None):
    """Holds an encoder against what training needs.

    Args:
        encoder: a Keras model or layer from images to features.
        image_size: the height and width of the images, an integer or two, for an encoder that takes
            any; else None, or the encoder's own.

    Returns:
        `(encoder, image_shape)`: the encoder, or a functional model around one that is subclassed
        or not yet built; (height, width, channels).

    Raises:
        ValueError: for what is no such encoder, sizes that disagree, `channels_first`, or numbers
            that are not float32.
    """
    if not isinstance(encoder, keras.layers.Layer):
        raise ValueError(
            f"`encoder` should be a Keras model from images to features: a built one, such as "
            f'build_encoder("resnet18") or one of keras.applications. Received: {encoder!r}'
        )
    check_numbers()
    image_shape = _image_shape(encoder, image_size)
    if not hasattr(encoder, "input_shape"):
        encoder = _functional(encoder, image_shape)
    elif None in encoder.input_shape[1:]:
        _called(encoder.compute_output_spec, keras.KerasTensor((None, *image_shape)))
    _check_layers(encoder)
    output = encoder.output_shape
    if not isinstance(output, tuple) or len(output) != 2 or output[-1] is None:
        raise ValueError(
            f"`encoder` should map images (n, height, width, 3) to features (n, features), by "
            f'pooling="avg" or a GlobalAveragePooling2D at its end, say. '
            f"Received: input {encoder.input_shape}, output {output}"
        )
    return encoder, image_shape


def check_numbers():
    """Raises ValueError where Keras is set to compute with other numbers than float32, or than
    sixteen bits with float32 weights."""
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    if floatx != "float32" or policy.variable_dtype != "float32":
        raise ValueError(
            f'Weights should be float32: keras.config.set_floatx("float32") and a policy of '
            f"float32, mixed_bfloat16 or mixed_float16. Received: floatx {floatx}, dtype policy "
            f"{policy.name}"
        )


def _image_shape(encoder, image_size):
    """(height, width, channels) of the images."""
    shape = getattr(encoder, "input_shape", None)  # that of a subclassed model is nowhere
    if shape is not None and (not isinstance(shape, tuple) or len(shape) != 4):
        raise ValueError(
            f"`encoder` should map images (n, height, width, 3) to features (n, features). "
            f"Received: input {shape}"
        )
    own, channels = ((None, None), 3) if shape is None else (shape[1:3], shape[3] or 3)
    if image_size is None:
        size = own
    else:
        size = tuple(image_size) if isinstance(image_size, (list, tuple)) else 2 * (image_size,)
    if None in size:
        raise ValueError(
            f"`encoder` takes images of any size: say which they are with `image_size`, the height "
            f"and width. Received: input {shape}, image_size=None"
        )
    if len(size) != 2 or any(not isinstance(x, numbers.Integral) or x < 1 for x in size):
        raise ValueError(
            f"`image_size` should be one or two integers >= 1. Received: image_size={image_size!r}"
        )
    if any(each not in (None, wanted) for each, wanted in zip(own, size, strict=True)):
        raise ValueError(
            f"`image_size` should be that of the encoder, {own[0]}x{own[1]}, or None. "
            f"Received: image_size={image_size!r}"
        )
    return *size, channels


def _functional(encoder, image_shape):
    """A functional model of an encoder whose layers Keras does not know from the outside."""
    images = keras.Input(image_shape, name="images")
    network = keras.Model(images, _called(encoder, images), name=encoder.name)
    try:  # as its slow copy, and the copy that is exported, will be made
        copy = keras.models.clone_model(network)
    except Exception as error:
        raise ValueError(
            f"`encoder` should be one that can be made anew from its `get_config`, so that it can "
            f"be copied. {type(encoder).__name__} cannot: {error}"
        ) from error
    if [each.shape for each in copy.weights] != [each.shape for each in network.weights]:
        raise ValueError(
            f"`encoder` should be made anew by its `get_config` with the same weights. "
            f"{type(encoder).__name__} gets others: {len(copy.weights)} for {len(network.weights)}"
        )
    return network


def _called(encoder, images):
    try:
        return encoder(images)
    except Exception as error:  # of the user's own code: anything
        shape = "x".join(map(str, images.shape[1:]))
        raise ValueError(f"`encoder` cannot be called on {shape} images: {error}") from error


def _check_layers(network):
    """Looks at all layers for another layout or other numbers."""
    for layer in network._flatten_layers():
        if getattr(layer, "data_format", None) == "channels_first":
            raise ValueError(
                f"`encoder` should take channels last, (n, height, width, 3): build it after "
                f'keras.config.set_image_data_format("channels_last"). Its layer {layer.name} has '
                f"channels first."
            )
    for weight in network.weights:
        if weight.dtype in ("float64", "float16", "bfloat16"):
            raise ValueError(
                f"The weights of `encoder` should be float32. Received: {weight.dtype} in "
                f"{weight.path}"
            )
