"""Views that the step renders, of images and draws that it is sent.

Where a GPU trains, a batch of uint8 images and of what was drawn for them is a quarter to an
eighth of its float32 views to send, and the host need not render them.
"""

from typing import NamedTuple

import tensorflow as tf


class Drawn(NamedTuple):
    """What stands for the two views of a batch, `(view1, view2)`, until they are rendered."""

    pixels: tf.Tensor
    """`(n, height, width, 3)`, pixels 0 to 255, or `(n, 2, height, width, 3)`: a crop a view."""
    draws: tf.Tensor
    """`(n, 2, 14)` float32, of `TwoViews.draws`."""

    def rendered(self, augment):
        """The two views, by the augmentation whose draws they are."""
        make = augment.finish if self.pixels.shape.rank == 5 else augment.render
        return make(self.pixels, self.draws)


class Late:
    """An augmentation like another, but that it makes `Drawn` in the place of views.

    Args:
        augment: an augmentation that can be rendered late (`can_be_late`).
    """

    def __init__(self, augment):
        self.draws, self.crop_boxes = augment.draws, augment.crop_boxes
        self.render = self.finish = Drawn


def can_be_late(augment):
    """Whether an augmentation draws and renders apart, as `TwoViews` does."""
    return all(hasattr(augment, name) for name in ("draws", "crop_boxes", "render", "finish"))
