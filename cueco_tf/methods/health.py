"""Monitors that watch a training run and say in words what is wrong."""

import math
import warnings

import keras
import numpy as np

# The contrastive loss of an encoder that tells nothing apart is log(K + 1). Above this part of it,
# for this many epochs on end, training has collapsed or never started.
COLLAPSE_SHARE = 0.98
COLLAPSE_EPOCHS = 3
LOW_USAGE_ENTROPY = 0.7


class HealthMonitor(keras.callbacks.Callback):
    """Warns about collapse and about unused clusters, and stops at a loss that is not finite.

    `CueCo.fit` adds it by itself. It changes nothing but what is printed and raised.

    Raises:
        FloatingPointError: at the first batch whose loss is NaN or infinite, and at the end of an
            epoch that leaves such weights (oneDNN's ReLU turns NaN into 0, which hides it from the
            loss).
    """

    def __init__(self):
        super().__init__()
        self.collapsed_epochs = 0

    def on_train_batch_end(self, batch, logs=None):
        if not np.isfinite(logs["loss"]):
            self._stop("The loss is")

    def _stop(self, subject):
        raise FloatingPointError(
            f"{subject} no longer finite at step {int(self.model.step.numpy())}. What was learnt "
            f"since the last checkpoint is spoilt. A lower learning rate or a higher temperature "
            f"usually helps; NaN pixels in the data have the same effect."
        )

    def on_epoch_end(self, epoch, logs=None):
        for weight in self.model.weights:
            if not np.isfinite(weight.numpy()).all():
                self._stop(f"The weight {weight.path} is")
        chance = math.log(self.model.queue_size + 1)
        stuck = logs["info_nce"] > COLLAPSE_SHARE * chance
        self.collapsed_epochs = self.collapsed_epochs + 1 if stuck else 0
        if self.collapsed_epochs == COLLAPSE_EPOCHS:
            warnings.warn(
                f"The contrastive loss has stayed at log(K + 1) = {chance:.2f} for "
                f"{COLLAPSE_EPOCHS} epochs: the encoder tells no image from another (collapse). "
                f"Try a lower learning rate, weaker augmentation or a longer training.",
                stacklevel=2,
            )
        entropy = logs["usage_entropy"]
        if 0 < entropy < LOW_USAGE_ENTROPY:
            warnings.warn(
                f"Usage entropy fell to {entropy:.2f} (1 is even): a few clusters take most of the "
                f"images. Try fewer clusters, a longer warm-up or a smaller second loss weight.",
                stacklevel=2,
            )
