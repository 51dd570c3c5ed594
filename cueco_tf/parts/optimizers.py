"""Optimizers that Keras lacks, or that launch less than its own."""

import keras
import tensorflow as tf
from keras import ops


class OnCopies:
    """Makes a Keras optimizer able to move the copies of variables on one replica, in the update of
    `tf.distribute.StrategyExtended.update`, by the gradient of all: in one function, where Keras
    adds the gradients up itself and updates a variable after the other."""

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        if tf.distribute.get_replica_context() is not None:
            super()._backend_update_step(grads, trainable_variables, learning_rate)
            return
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            self.update_step(gradient, variable, learning_rate)

    def _apply_weight_decay(self, variables):
        if tf.distribute.get_replica_context() is not None:
            super()._apply_weight_decay(variables)
            return
        for variable in variables:
            if self.weight_decay is not None and self._use_weight_decay(variable.value):
                self.assign_sub(variable, variable * self.weight_decay * self.learning_rate)


def moves_copies(optimizer):
    """Whether an optimizer can do so: what Keras does to averages and sums of gradients of its own
    it does to all replicas at once."""
    averages = optimizer.use_ema or optimizer.gradient_accumulation_steps
    return isinstance(optimizer, OnCopies) and not averages


@keras.saving.register_keras_serializable("cueco_tf")
class SGD(OnCopies, keras.optimizers.SGD):
    """Keras's SGD, whose learning rate is worked out once a step: Keras works a schedule out anew
    for each weight that decays, some thirty operations."""

    _rate = None

    @property
    def learning_rate(self):
        """The rate of the step under way, or what the schedule gives."""
        return super().learning_rate if self._rate is None else self._rate

    @learning_rate.setter
    def learning_rate(self, value):
        keras.optimizers.SGD.learning_rate.fset(self, value)

    def apply(self, grads, trainable_variables=None):
        """Takes a step, as in `keras.optimizers.Optimizer`."""
        self._rate = ops.convert_to_tensor(self.learning_rate)
        try:
            super().apply(grads, trainable_variables)
        finally:
            self._rate = None


@keras.saving.register_keras_serializable("cueco_tf")
class LARS(OnCopies, keras.optimizers.Optimizer):
    """Stochastic gradient descent whose steps keep in proportion to the weights they change.

    The gradient g of a weight p, to which decay adds `weight_decay * p`, is multiplied by

        min(trust * ||p|| / (||g|| + weight_decay * ||p|| + 1e-8) / learning_rate, 1)

    which is clipped so that no step is larger than that of plain descent. Then
    v = momentum * v + g and p = p - learning_rate * v. Weights of rank 1 and 0, biases and those of
    normalisation, are neither scaled nor decayed; a weight or gradient of norm 0 is not scaled.

    Args:
        learning_rate: float, or a `keras.optimizers.schedules.LearningRateSchedule`.
        momentum: float in [0, 1). Defaults to 0.9.
        weight_decay: float >= 0, part of the gradient ("coupled"). Defaults to 0.
        trust: float > 0, the share of its norm by which a weight may move at a learning rate of 1.
            Defaults to 0.02.
        **kwargs: as in `keras.optimizers.Optimizer`.

    Raises:
        ValueError: for a value out of these ranges.

    Reference: You et al., https://arxiv.org/abs/1708.03888.
    """

    # Additions that follow one another are avoided: TensorFlow makes one of them whose order, and
    # with it the rounding, depends on which of its inputs others are done with.

    def __init__(
        self, learning_rate, momentum=0.9, weight_decay=0.0, trust=0.02, name="lars", **kwargs
    ):
        if not 0 <= momentum < 1:
            raise ValueError(f"`momentum` should lie in [0, 1). Received: momentum={momentum}")
        if not weight_decay >= 0:
            raise ValueError(
                f"`weight_decay` should be at least 0. Received: weight_decay={weight_decay}"
            )
        if not trust > 0:
            raise ValueError(f"`trust` should be positive. Received: trust={trust}")
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        # Not Keras's `weight_decay`, which shrinks weights beside the gradient step.
        self.momentum, self.coupled_decay, self.trust = momentum, weight_decay, trust

    def build(self, variables):
        """Makes a velocity for each variable."""
        if not self.built:
            super().build(variables)
            self.velocities = self.add_optimizer_variables(variables, "velocity")

    def update_step(self, gradient, variable, learning_rate):
        """Moves one variable."""
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        if len(variable.shape) > 1:
            gradient = self._in_proportion(gradient, ops.convert_to_tensor(variable), rate)
        velocity = self.velocities[self._get_variable_index(variable)]
        self.assign(velocity, self.momentum * velocity)
        self.assign_add(velocity, gradient)
        self.assign_sub(variable, rate * velocity)

    def _in_proportion(self, gradient, weight, rate):
        norm, of_gradient = (ops.sqrt(ops.sum(ops.square(x))) for x in (weight, gradient))
        below = ops.sum(ops.stack([of_gradient, self.coupled_decay * norm, 1e-8]))
        most = self.trust * norm / below
        factor = ops.minimum(most / ops.maximum(rate, 1e-12), 1.0)
        factor = ops.where(ops.logical_and(norm > 0, of_gradient > 0), factor, 1.0)
        return factor * (gradient + self.coupled_decay * weight)

    def get_config(self):
        """The arguments, for Keras to save."""
        own = dict(momentum=self.momentum, weight_decay=self.coupled_decay, trust=self.trust)
        return {**super().get_config(), **own}
