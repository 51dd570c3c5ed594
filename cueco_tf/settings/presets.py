"""What suits each kind of data set, whatever the method; a method adds to it in its `presets`.

A preset's learning rate is for 256 images a batch, in proportion to a run's own.
"""

import math

from cueco_tf.settings.choices import PLACED

LARGEST_BATCH = 256  # unless it is given
RATE = 0.4  # without a preset: against 0.12, k-NN +1.2, NMI +0.5

# Each preset with its command, what it costs and what it gave: see the README's table of results.
PRESETS = {
    # python -m cueco_tf.train --dataset digits
    # Handwritten digits must not be mirrored, and their crops must leave them readable.
    "digits": dict(
        encoder="resnet10",
        width=16,
        image_size=16,
        epochs=100,
        batch_size=128,
        flip=0.0,
        gray=0.0,
        jitter=(0.4, 0.4, 0.0, 0.0),
        crop_scale=(0.5, 1.0),
        learning_rate=0.24,
    ),
    # python -m cueco_tf.train --dataset cifar10
    "cifar10": dict(),
    # python -m cueco_tf.train --dataset cifar100
    "cifar100": dict(),
    # python -m cueco_tf.train --dataset imagenet100
    # The default rate was measured on small images alone; for large ones it stays cautious.
    "imagenet100": dict(image_size=224, learning_rate=0.12),
    # python -m cueco_tf.train --dataset folder:PATH
    "folder": dict(),
    # python -m cueco_tf.train --dataset list:FILE.csv
    "list": dict(),
    # python -m cueco_tf.train --dataset parquet:'DIR/*.parquet'
    "parquet": dict(),
    # python -m cueco_tf.train --dataset tar:'DIR/*.tar'
    "tar": dict(),
    # python -m cueco_tf.train --dataset array:FILE.npz
    "array": dict(),
    # python -m cueco_tf.train --dataset tfds:NAME
    "tfds": dict(),
}


def by_size(images):
    """What suits a set of one's own: batches small enough for some steps an epoch, and epochs
    enough for as many steps as it takes to learn. See docs/results/small-sets.md.

    Args:
        images: integer >= 2, the training images.

    Returns:
        `(batch_size, epochs)`: of the powers of two from 64 to 256 the largest that is at most a
        sixteenth of the images, or all of fewer than 64; and as many epochs as make 600,000 images,
        from 200 to 800.
    """
    sixteenth = 2 ** int(math.log2(max(images // 16, 1)))
    batch_size = min(images, max(64, min(sixteenth, LARGEST_BATCH)))
    return batch_size, max(200, min(-(-600_000 // images), 800))


def names_a_dataset(value):
    """Whether a text, with its kind, can be the name of a data set."""
    kind, _, rest = value.partition(":")
    if kind == "array" and not rest.lower().endswith((".npy", ".npz")):
        return False
    return kind in PRESETS and bool(rest) == (kind in PLACED)
