"""The matrices by which images are cropped, blurred and coloured, one of each an image."""

import math

import tensorflow as tf

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in torchvision
_YIQ = ((0.299, 0.587, 0.114), (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))
_RGB = (
    (1.0, 0.9562958, 0.6210244),
    (0.99999994, -0.27212206, -0.6473806),
    (1.0, -1.106989, 1.7046151),
)  # its inverse


def sampling(start, end, size, length):
    """Matrices `(batch, size, length)` that sample an axis of so many pixels from `start` to `end`
    (parts of its length, in either direction) at `size` places, by linear interpolation; where
    that is fewer places than pixels, each is a mean weighted by a triangle, as Pillow resizes."""
    steps = (tf.range(size, dtype=tf.float32) + 0.5) / size
    centres = start[:, None] + (end - start)[:, None] * steps
    position = tf.clip_by_value(centres * length - 0.5, 0.0, length - 1.0)
    distance = tf.abs(position[:, :, None] - tf.range(length, dtype=tf.float32))
    if length <= size:
        return tf.nn.relu(1.0 - distance)
    reach = tf.maximum(tf.abs(end - start) * length / size, 1.0)[:, None, None]
    weights = tf.nn.relu(1.0 - distance / reach)
    return weights / tf.reduce_sum(weights, axis=-1, keepdims=True)


def blurring(sigma, size):
    """Matrices `(batch, size, size)` that blur an axis by a Gaussian of `sigma` pixels."""
    place = tf.range(size, dtype=tf.float32)
    distance = (place[:, None] - place[None]) / sigma[:, None, None]
    return tf.nn.softmax(-0.5 * tf.square(distance), axis=-1)


def colours(mean, brightness, contrast, saturation, hue, gray):
    """Changes of colour as `mixing @ pixel + offset`.

    Args:
        mean: float32 `(batch, 3)`, the mean pixel of each image.
        brightness, contrast, saturation: float32 `(batch,)`, relative changes, where -1
            is as far down as it goes.
        hue: float32 `(batch,)`, in turns.
        gray: bool `(batch,)`, whether the image loses its colours.

    Returns:
        float32 `(batch, 3, 3)` and `(batch,)`.
    """
    brightness, contrast, saturation = (
        tf.maximum(1.0 + change, 0.0) for change in (brightness, contrast, saturation)
    )
    saturation = saturation[:, None, None]
    to_gray = tf.constant((_LUMA,) * 3)  # every channel becomes the luma
    # Hue turns the colours about the gray axis.
    cos, sin = tf.cos(2 * math.pi * hue), tf.sin(2 * math.pi * hue)
    zero, one = tf.zeros_like(cos), tf.ones_like(cos)
    turn = tf.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], axis=1)
    turn = tf.constant(_RGB) @ tf.reshape(turn, (-1, 3, 3)) @ tf.constant(_YIQ)
    mixing = turn @ (saturation * tf.eye(3) + (1.0 - saturation) * to_gray)
    mixing = tf.where(gray[:, None, None], to_gray @ mixing, mixing)
    # Contrast moves towards the image's mean luma, which the other changes leave as it is.
    luma = brightness * tf.linalg.matvec(mean, _LUMA)
    return mixing * (brightness * contrast)[:, None, None], (1.0 - contrast) * luma


def tones(mean, brightness, contrast):
    """Changes of channels that are no colours, as `factor * pixel + offset`. Contrast moves each
    channel towards its own mean: they need have nothing to do with each other.

    Args:
        mean: float32 `(batch, channels)`, the mean pixel of each image.
        brightness, contrast: as in `colours`.

    Returns:
        float32 `(batch,)` and `(batch, channels)`.
    """
    brightness, contrast = (tf.maximum(1.0 + change, 0.0) for change in (brightness, contrast))
    return brightness * contrast, ((1.0 - contrast) * brightness)[:, None] * mean
