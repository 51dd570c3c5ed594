"""The key encoder: a slow moving average of the query encoder."""

import math

import keras
from keras import ops


def cosine_momentum(start, end, step, total_steps):
    """Momentum that rises from `start` to `end` along half a cosine.

    Args:
        start: float in [0, 1]: the momentum at step 0.
        end: float in [0, 1]: the momentum at `total_steps`, and after it.
        step: integer scalar: steps done.
        total_steps: integer scalar; 0 means unknown, and the momentum stays at `start`.

    Returns:
        float32 scalar.

    Reference: BYOL, https://arxiv.org/abs/2006.07733, section 3.3.
    """
    total = ops.cast(total_steps, "float32")
    progress = ops.clip(ops.cast(step, "float32") / ops.maximum(total, 1.0), 0.0, 1.0)
    progress = ops.where(total > 0, progress, 0.0)
    return end - (end - start) * 0.5 * (1.0 + ops.cos(math.pi * progress))


class MomentumNetwork(keras.layers.Layer):
    """A copy of a network that follows it and is never trained.

    The copy runs in training mode, with batch statistics of its own, as in MoCo. Its variables are
    frozen by structure: setting `trainable` here or on any model above changes nothing (Keras
    hands that flag down to every variable, and a frozen *layer* would switch BatchNormalization
    to inference mode).

    Args:
        network: a built functional or sequential Keras model.
    """

    def __init__(self, network, **kwargs):
        super().__init__(**kwargs)
        self.network = keras.models.clone_model(network)
        self.network.set_weights(network.get_weights())
        # Only what is learnt is followed; moving statistics are the copy's own.
        self._followed = [i for i, weight in enumerate(self.network.weights) if weight.trainable]
        for weight in self.network.weights:
            weight.trainable = False
        self.built = True

    @property
    def trainable(self):
        """Always True, and setting it does nothing."""
        return True

    @trainable.setter
    def trainable(self, value):
        pass

    def follow(self, network, momentum):
        """Moves every followed weight w towards the network's: m w + (1 - m) w_network."""
        for i in self._followed:
            own, other = self.network.weights[i], network.weights[i]
            own.assign(momentum * own + (1.0 - momentum) * other)

    def call(self, inputs):
        """The copy's outputs, in training mode."""
        return self.network(inputs, training=True)
