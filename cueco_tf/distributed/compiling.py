"""What a model that brings its own losses is compiled with."""

import keras
import tensorflow as tf

_STEPS_PER_LOOK = 20


class CompiledModel(keras.Model):
    """A model whose `compile` takes an optimizer and how the step runs, and no losses."""

    _trained = None  # which variables training moves, from the first step after `compile` on

    def compile(
        self,
        optimizer="sgd",
        loss=None,
        loss_weights=None,
        metrics=None,
        weighted_metrics=None,
        run_eagerly=False,
        steps_per_execution=None,
        jit_compile=None,
        auto_scale_loss=True,
    ):
        """Configures training.

        What is frozen or thawed (`trainable`) from here on counts after the next `compile`, as
        everywhere in Keras.

        Args:
            optimizer, run_eagerly, auto_scale_loss: as in `keras.Model.compile`.
            loss, loss_weights, metrics, weighted_metrics: None, for the model brings its own.
            steps_per_execution: integer >= 1, the steps between two looks of the host at the logs,
                fewer at an epoch's end; None for 20 on GPUs, which else wait for the host, and 1
                elsewhere. Defaults to None.
            jit_compile: whether XLA compiles the step: of a single device as a whole, of several
                what each does alone; `"update"`: what moves the weights alone, a handful of
                operations a weight; None for where the whole pays, on a GPU. Of several devices
                only this package's optimizers are compiled. Defaults to None.

        Raises:
            ValueError: for another `jit_compile`, or for a loss or metric.
        """
        why = f"{type(self).__name__} brings its own losses and reports each of them. Leave it out."
        refuse(why, loss=loss, loss_weights=loss_weights)
        refuse(why, metrics=metrics, weighted_metrics=weighted_metrics)
        self._asked = dict(
            jit_compile=jit_compile,
            steps_per_execution=steps_per_execution,
            run_eagerly=run_eagerly,
            auto_scale_loss=auto_scale_loss,
        )
        jit_compile = self._resolved(jit_compile)
        alone = self.distribute_strategy.num_replicas_in_sync == 1
        self._compiled_parts = jit_compile is True and not alone
        self._compiled_update = jit_compile == "update" or self._compiled_parts
        if steps_per_execution is None:
            steps_per_execution = _STEPS_PER_LOOK if _gpus() else 1
        self._trained = None
        super().compile(
            optimizer=optimizer,
            run_eagerly=run_eagerly,
            jit_compile=jit_compile is True and alone,
            steps_per_execution=steps_per_execution,
            auto_scale_loss=auto_scale_loss,
        )

    def compile_again(self):
        """`compile` as it was, after a change of `trainable`, with the optimizer and its state. It
        has to be built on all that is ever trained."""
        with self.distribute_strategy.scope():
            self.compile(optimizer=self.optimizer, **self._asked)

    def _resolved(self, jit_compile):
        """What XLA compiles: True, False or `"update"`."""
        if jit_compile not in (None, "auto", True, False, "update"):
            raise ValueError(
                f"`jit_compile` should be True, False, None or 'update'. Received: {jit_compile!r}"
            )
        if jit_compile in (None, "auto"):
            return self.distribute_strategy.num_replicas_in_sync == 1 and _gpus() > 0
        return jit_compile

    def check_trainable(self):
        """Holds what is frozen against what was at the first step since `compile`.

        Raises:
            ValueError: where it has changed, or all is frozen.
        """
        trained = self._trainable_now()
        if not trained:
            raise ValueError("All layers are frozen, so nothing can be trained: thaw some.")
        if self._trained not in (None, trained):
            raise ValueError(
                f"Layers were frozen or thawed since `compile`: {len(self._trained)} variables are "
                f"trained, {len(trained)} would be. Call `compile` again with a new optimizer, as "
                f"after any change of `trainable` in Keras."
            )
        self._trained = trained

    def _trainable_now(self):
        return tuple(map(id, self.trainable_variables))

    def get_compile_config(self):
        """What a saved model is compiled with again, by the device that then trains it."""
        if not self.compiled:
            return {}
        return self._asked | {"optimizer": keras.saving.serialize_keras_object(self.optimizer)}

    def compile_from_config(self, config):
        """Compiles a model that was loaded, with an optimizer that is ready for its state."""
        if not config:
            return
        optimizer = keras.saving.deserialize_keras_object(config["optimizer"])
        self.compile(**{**config, "optimizer": optimizer})
        self.optimizer.build(self.trainable_variables)
        self._trained = self._trainable_now()


def _gpus():
    return len(tf.config.list_logical_devices("GPU"))


def refuse(why, **arguments):
    """Raises ValueError that says why, for an argument that is not None."""
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(f"`{name}` cannot be used: {why} Received: {name}={value!r}")
