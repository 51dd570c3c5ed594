"""Residual networks for small and large images.

Networks are built functionally and take pixels from 0 to 255: the normalisation is their first
layer, so nobody who loads one can get it wrong.
"""

import keras
from keras import layers

from cueco_tf.parts.batch_norm import FusedBatchNormalization

# Blocks a stage, and whether they are bottlenecks (1x1, 3x3, 1x1 with four times the width).
ENCODERS = {
    "resnet10": ((1, 1, 1, 1), False),
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
}
STEMS = ("small", "imagenet")

# PyTorch's values (there written as momentum 0.1), which all published baselines use; Keras's own
# defaults, 0.99 and 1e-3, average over too many steps for short runs.
_BATCH_NORM = dict(momentum=0.9, epsilon=1e-5)


# Whatever Keras's own setting is: TensorFlow's convolutions on a CPU take no other.
_LAYOUT = dict(data_format="channels_last")


def _conv(x, filters, kernel, strides, synchronized):
    x = layers.Conv2D(
        filters,
        kernel,
        strides,
        padding="same",
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out"),
        **_LAYOUT,
    )(x)
    return FusedBatchNormalization(synchronized=synchronized, **_BATCH_NORM)(x)


def _block(x, width, strides, bottleneck, synchronized):
    out = width * 4 if bottleneck else width
    shortcut = x
    if strides != 1 or x.shape[-1] != out:
        if strides != 1:
            # Every second pixel, then 1x1: what a strided 1x1 convolution computes, in a quarter
            # of its time on a CPU. TensorFlow's gradient of the strided one corrupts memory where
            # the input has fewer channels than a vector register has lanes (8 or 16).
            shortcut = layers.AveragePooling2D(1, strides, **_LAYOUT)(shortcut)
        shortcut = _conv(shortcut, out, 1, 1, synchronized)
    if bottleneck:
        x = layers.ReLU()(_conv(x, width, 1, 1, synchronized))
        x = layers.ReLU()(_conv(x, width, 3, strides, synchronized))
        x = _conv(x, out, 1, 1, synchronized)
    else:
        x = layers.ReLU()(_conv(x, width, 3, strides, synchronized))
        x = _conv(x, out, 3, 1, synchronized)
    return layers.ReLU()(layers.Add()([x, shortcut]))


def build_encoder(
    name="resnet18", width=64, image_size=32, stem=None, sync_batchnorm=False, channels=3
):
    """Builds a residual network that turns images into features h.

    Args:
        name: `"resnet10"` (one block a stage), `"resnet18"`, `"resnet34"` or `"resnet50"`.
            Defaults to `"resnet18"`.
        width: integer >= 1, the channels of the first stage; they double in each of the three
            others. Defaults to 64, as published; 16 is quick enough for a CPU.
        image_size: integer >= 8, the height and width of the images. Defaults to 32.
        stem: `"small"` (3x3 convolution, stride 1, no pooling), `"imagenet"` (7x7, stride 2, then
            3x3 max-pooling, stride 2), or None, which takes the small one up to 64 pixels.
        sync_batchnorm: whether BatchNormalization takes its statistics over the images of all
            replicas, as one device would, instead of each replica's own. Defaults to False.
        channels: integer >= 1, the numbers of a pixel. Defaults to 3.

    Returns:
        A functional `keras.Model` from images `(n, image_size, image_size, channels)`, pixels 0 to
        255 of any dtype, to float32 features `(n, 8 * width)`; four times as many for resnet50.

    Raises:
        ValueError: for an unknown name or stem, or a size or width out of range.

    Reference: He et al., https://arxiv.org/abs/1512.03385.
    """
    if name not in ENCODERS:
        raise ValueError(f"`name` should be one of {', '.join(ENCODERS)}. Received: name={name!r}")
    if width < 1:
        raise ValueError(f"`width` should be at least 1. Received: width={width}")
    if image_size < 8:
        raise ValueError(f"`image_size` should be at least 8. Received: image_size={image_size}")
    if channels < 1:
        raise ValueError(f"`channels` should be at least 1. Received: channels={channels}")
    if stem is None:
        stem = "small" if image_size <= 64 else "imagenet"
    if stem not in STEMS:
        raise ValueError(f"`stem` should be one of {', '.join(STEMS)}. Received: stem={stem!r}")
    blocks, bottleneck = ENCODERS[name]

    inputs = keras.Input((image_size, image_size, channels), name="images")
    # In float32 under any policy: bfloat16 would round pixels to integers.
    x = layers.Rescaling(1.0 / 127.5, offset=-1.0, dtype="float32")(inputs)
    if stem == "small":
        x = layers.ReLU()(_conv(x, width, 3, 1, sync_batchnorm))
    else:
        x = layers.ReLU()(_conv(x, width, 7, 2, sync_batchnorm))
        x = layers.MaxPooling2D(3, 2, padding="same", **_LAYOUT)(x)
    for stage, count in enumerate(blocks):
        for block in range(count):
            strides = 2 if stage > 0 and block == 0 else 1
            x = _block(x, width * 2**stage, strides, bottleneck, sync_batchnorm)
    features = layers.GlobalAveragePooling2D(dtype="float32", name="features", **_LAYOUT)(x)
    return keras.Model(inputs, features, name=name)
