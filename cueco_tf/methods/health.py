"""Monitors that watch a training run and say in words what is wrong."""

import math
import warnings

import keras
import tensorflow as tf

# The contrastive loss of an encoder that tells nothing apart is log(K + 1). Above this part of it,
# for this many epochs on end, training has collapsed or never started.
COLLAPSE_SHARE = 0.98
COLLAPSE_EPOCHS = 3
LOW_USAGE_ENTROPY = 0.7


class FiniteMonitor(keras.callbacks.Callback):
    """Stops training at a loss that is not finite, whatever the method.

    Raises:
        FloatingPointError: once the epoch's mean loss is NaN or infinite, and at the end of an
            epoch that leaves such weights (oneDNN's ReLU turns NaN into 0, which hides it from the
            loss).
    """

    def on_train_batch_end(self, batch, logs=None):
        """Stops at the first mean loss that is not finite."""
        if not math.isfinite(logs["loss"]):
            raise no_longer_finite("The loss is", self.model)

    def on_epoch_end(self, epoch, logs=None):
        """Stops at the first weight that is not finite."""
        weights = [weight for weight in self.model.weights if weight.dtype.startswith("float")]
        # One look at the device, where all of them lie.
        for weight, finite in zip(
            weights, _all_finite([weight.value for weight in weights]).numpy(), strict=True
        ):
            if not finite:
                raise no_longer_finite(f"The weight {weight.path} is", self.model)


def no_longer_finite(subject, model):
    """A FloatingPointError that says which numbers of a model no training can go on with."""
    return FloatingPointError(
        f"{subject} no longer finite at step {int(model.step.numpy())}. What was learnt since the "
        f"last checkpoint is spoilt. A lower learning rate or a higher temperature usually helps; "
        f"NaN pixels in the data have the same effect."
    )


@tf.function
def _all_finite(tensors):
    return tf.stack([tf.reduce_all(tf.math.is_finite(tensor)) for tensor in tensors])


class CollapseMonitor(keras.callbacks.Callback):
    """Warns when a contrastive loss against a queue stays where nothing is told apart.

    Args:
        term: the name of the loss.
        negatives: integer, K.
    """

    def __init__(self, term, negatives):
        super().__init__()
        self.term, self.chance = term, math.log(negatives + 1)
        self.collapsed_epochs = 0

    def on_epoch_end(self, epoch, logs=None):
        """Warns once, after so many epochs on end without learning."""
        stuck = logs[self.term] > COLLAPSE_SHARE * self.chance
        self.collapsed_epochs = self.collapsed_epochs + 1 if stuck else 0
        if self.collapsed_epochs == COLLAPSE_EPOCHS:
            warnings.warn(
                f"The contrastive loss has stayed at log(K + 1) = {self.chance:.2f} for "
                f"{COLLAPSE_EPOCHS} epochs: the encoder tells no image from another (collapse). "
                f"Try a lower learning rate, weaker augmentation or a longer training.",
                stacklevel=2,
            )


def warn_of_long_queue(queue_size, images, role="as negatives"):
    """Warns, in `Method.check_fit`, where a queue of keys holds more than there are images."""
    if images < queue_size:
        warnings.warn(
            f"The queue of {queue_size} keys is longer than the data set of {images} images, so an "
            f"image meets older keys of itself {role}. Choose queue_size <= {images}.",
            stacklevel=5,  # of who calls `fit`
        )


class UsageMonitor(keras.callbacks.Callback):
    """Warns when a few clusters begin to take most of the images."""

    def __init__(self):
        super().__init__()
        self.crowded = False

    def on_epoch_end(self, epoch, logs=None):
        """Warns of an epoch whose images crowd into few clusters, after one where they do not."""
        entropy, before = logs["usage_entropy"], self.crowded
        self.crowded = 0 < entropy < LOW_USAGE_ENTROPY
        if self.crowded and not before:
            warnings.warn(
                f"Usage entropy fell to {entropy:.2f} (1 is even): a few clusters take most of the "
                f"images. Try fewer clusters, a longer warm-up or a smaller second loss weight.",
                stacklevel=2,
            )
