"""A data set that lies on the device that trains, so that the step itself makes the views.

What then travels to the device each step are the numbers of the images and the draws of their
views, some 30 KB. A batch of 256 views of 32 x 32 pixels is 6 MB.
"""

import numpy as np
import tensorflow as tf

LARGEST = 4 * 2**30  # bytes: CIFAR takes 150 MB, and the networks need the rest


class Resident:
    """Images on the devices of the strategy that is in force where it is made.

    Args:
        images: `(n, height, width, 3)` uint8 array.
        augment: an augmentation with `draws` and `render`, such as `TwoViews`.
    """

    def __init__(self, images, augment):
        self.source = images
        self.images = tf.Variable(images, trainable=False, name="resident_images")
        self.augment = augment

    def views(self, index, draws):
        """The two views of some images: `index` int64 `(n,)`, `draws` float32 `(n, 2, 14)`."""
        return self.augment.render(tf.gather(self.images, index), draws)


def can_reside(images, augment):
    """Whether an array of images may be made a `Resident`."""
    fits = isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.nbytes <= LARGEST
    return fits and hasattr(augment, "render")
