"""Views that the step renders, of images and draws that it is sent.

Where a GPU trains, a batch of uint8 images and of what was drawn for them is a quarter to an
eighth of its float32 views to send, and the host need not render them.
"""

from typing import NamedTuple

import tensorflow as tf


class Drawn(NamedTuple):
    """What stands for the two views of a batch, `(view1, view2)`, until they are rendered."""

    pixels: tf.Tensor
    """`(n, height, width, 3)`, pixels 0 to 255."""
    draws: tf.Tensor
    """`(n, 2, 14)` float32, of `TwoViews.draws`."""
    aspects: tf.Tensor
    """`(n,)` float32, height over width that the images are seen at."""

    def rendered(self, augment, size):
        """The two views of a `(height, width)`, by the augmentation whose draws they are."""
        return augment.render(self.pixels, self.draws, self.aspects, size)


class Late:
    """An augmentation like another, but that it makes `Drawn` in the place of views.

    Args:
        augment: an augmentation that draws and renders apart.
    """

    def __init__(self, augment):
        self.draws = augment.draws

    def render(self, images, draws, aspects=1.0, size=None):
        """What a step needs to make the two views of this size."""
        aspects = tf.broadcast_to(tf.cast(aspects, tf.float32), tf.shape(images)[:1])
        return Drawn(images, draws, aspects)


def is_apart(augment):
    """Whether an augmentation draws and renders apart, as `TwoViews` does."""
    return hasattr(augment, "draws") and hasattr(augment, "render")
