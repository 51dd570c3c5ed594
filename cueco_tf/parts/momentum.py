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

    In training the copy normalises by batch statistics of its own, as in MoCo. Its variables are
    frozen by structure: setting `trainable` here or on any model above changes nothing (Keras
    hands that flag down to every variable, and a frozen *layer* would switch BatchNormalization
    to inference mode).

    Args:
        network: a built functional or sequential Keras model.
    """

    def __init__(self, network, **kwargs):
        super().__init__(**kwargs)
        self.network = keras.models.clone_model(network)
        # What is learnt is followed, frozen at the moment or not; moving statistics are the copy's
        # own. Which is which shows where nothing is frozen.
        for layer in self.network._flatten_layers():
            layer.trainable = False  # Keras hands a flag down only where it changes
            layer.trainable = True
        self._followed = [i for i, weight in enumerate(self.network.weights) if weight.trainable]
        self.copy(network)
        self._freeze_as(network)
        self.built = True

    @property
    def trainable(self):
        """Always True, and setting it does nothing."""
        return True

    @trainable.setter
    def trainable(self, value):
        pass

    def copy(self, network):
        """Takes all weights of the network over, moving statistics included."""
        self.network.set_weights(network.get_weights())

    def follow(self, network, momentum):
        """Moves every followed weight w towards the network's: m w + (1 - m) w_network.

        Layers that are frozen in the network by now, whose BatchNormalization is in inference mode,
        are so in the copy.
        """
        self._freeze_as(network)
        for i in self._followed:
            own, other = self.network.weights[i], network.weights[i]
            own.assign(momentum * own + (1.0 - momentum) * other)

    def _freeze_as(self, network):
        layers = self.network._flatten_layers(), network._flatten_layers()  # from the outside in
        for own, other in zip(*layers, strict=True):
            own.trainable = other.trainable
        for weight in self.network.weights:
            weight.trainable = False

    def call(self, inputs, training=True):
        """The copy's outputs, in training mode unless told otherwise."""
        return self.network(inputs, training=training)
