"""Residual networks for small and large images, and the projection head.

Networks are built functionally and take pixels from 0 to 255: the normalisation is their first
layer, so nobody who loads one can get it wrong.
"""

import keras
import tensorflow as tf
from keras import layers

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


@keras.saving.register_keras_serializable("cueco_tf")
class FusedBatchNormalization(layers.BatchNormalization):
    """Keras's BatchNormalization, computed in training by TensorFlow's fused kernel.

    About 12 % more training steps a second on a CPU. Two differences to the stock layer: the
    moving variance follows the unbiased (Bessel-corrected) batch variance, as in PyTorch, and the
    moving statistics are averaged over replicas instead of drifting apart. With
    `synchronized=True` it computes as the stock layer does, with the statistics of all replicas.
    `to_stock_layers` turns a network into one that plain Keras can load.
    """

    def add_weight(self, *args, **kwargs):
        if not kwargs.get("trainable", True):
            kwargs["aggregation"] = "mean"
        return super().add_weight(*args, **kwargs)

    def call(self, inputs, training=None, mask=None):
        fused = training and self.trainable and len(inputs.shape) == 4 and not self.synchronized
        if not fused:
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            tf.cast(self.gamma, tf.float32),
            tf.cast(self.beta, tf.float32),
            epsilon=self.epsilon,
            is_training=True,
        )
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(self.momentum * moving + (1.0 - self.momentum) * batch)
        return outputs


def to_stock_layers(network):
    """Copies a network into one made of Keras's own layers alone, weights included.

    The copy computes in float32 whatever the policy the network was trained under, and a file
    saved from it opens with plain `keras.models.load_model`.
    """

    def stock(layer):
        config = layer.get_config()
        if "dtype" in config:
            config["dtype"] = "float32"
        if isinstance(layer, FusedBatchNormalization):
            config["synchronized"] = False  # of no use in one process, nor to other backends
            return layers.BatchNormalization.from_config(config)
        return layer.__class__.from_config(config)

    copy = keras.models.clone_model(network, clone_function=stock)
    copy.set_weights(network.get_weights())
    return copy


def _conv(x, filters, kernel, strides, synchronized):
    x = layers.Conv2D(
        filters,
        kernel,
        strides,
        padding="same",
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out"),
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
            shortcut = layers.AveragePooling2D(1, strides)(shortcut)
        shortcut = _conv(shortcut, out, 1, 1, synchronized)
    if bottleneck:
        x = layers.ReLU()(_conv(x, width, 1, 1, synchronized))
        x = layers.ReLU()(_conv(x, width, 3, strides, synchronized))
        x = _conv(x, out, 1, 1, synchronized)
    else:
        x = layers.ReLU()(_conv(x, width, 3, strides, synchronized))
        x = _conv(x, out, 3, 1, synchronized)
    return layers.ReLU()(layers.Add()([x, shortcut]))


def build_encoder(name="resnet18", width=64, image_size=32, stem=None, sync_batchnorm=False):
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

    Returns:
        A functional `keras.Model` from images `(n, image_size, image_size, 3)`, pixels 0 to 255 of
        any dtype, to float32 features `(n, 8 * width)`; four times as many for resnet50.

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
    if stem is None:
        stem = "small" if image_size <= 64 else "imagenet"
    if stem not in STEMS:
        raise ValueError(f"`stem` should be one of {', '.join(STEMS)}. Received: stem={stem!r}")
    blocks, bottleneck = ENCODERS[name]

    inputs = keras.Input((image_size, image_size, 3), name="images")
    # In float32 under any policy: bfloat16 would round pixels to integers.
    x = layers.Rescaling(1.0 / 127.5, offset=-1.0, dtype="float32")(inputs)
    if stem == "small":
        x = layers.ReLU()(_conv(x, width, 3, 1, sync_batchnorm))
    else:
        x = layers.ReLU()(_conv(x, width, 7, 2, sync_batchnorm))
        x = layers.MaxPooling2D(3, 2, padding="same")(x)
    for stage, count in enumerate(blocks):
        for block in range(count):
            strides = 2 if stage > 0 and block == 0 else 1
            x = _block(x, width * 2**stage, strides, bottleneck, sync_batchnorm)
    features = layers.GlobalAveragePooling2D(dtype="float32", name="features")(x)
    return keras.Model(inputs, features, name=name)


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
