"""How steps are done: one after the other, several to a look at the logs, on all replicas.

Keras's own loop overshoots an epoch whose length `steps_per_execution` does not divide where
batches never end, and reduces logs by a rule that fails among several processes.
"""

import tensorflow as tf

from cueco_tf.distributed.compiling import CompiledModel


class SteppingModel(CompiledModel):
    """A model that makes the functions which Keras's loops of `fit` and `evaluate` call."""

    learning = True  # but in the step of `evaluate`, while it is traced

    def predict(self, *args, **kwargs):
        """As `keras.Model.predict`; XLA, and several steps between two looks, are for training."""
        former = self.steps_per_execution, self.jit_compile
        self.steps_per_execution, self.jit_compile = 1, False
        try:
            return super().predict(*args, **kwargs)
        finally:
            self.steps_per_execution, self.jit_compile = former

    def count_from(self, first_step, per_epoch):
        """Tells the train function which step comes first, and how many an epoch has, or None."""
        self._next, self._per_epoch, self._done = first_step, per_epoch, 0

    def next_steps(self):
        """What the next call of the train function does: the number of its first step, and of how
        many, which end with the epoch."""
        first, count = self._next, 1  # where the end of the data may come after any step
        if self._per_epoch is not None:
            left = self._per_epoch - self._done % self._per_epoch
            count = min(self.steps_per_execution, left)
        self._next, self._done = first + count, self._done + count
        return first, count

    def compiled_step(self, learning=True):
        """The function that does one step on all replicas of this process, given their data, and
        returns its logs, which are the same on each.

        Args:
            learning: whether it is `train_step`, or else `test_step`, which is not compiled by XLA.
                Defaults to True.
        """
        strategy = self.distribute_strategy

        def of_replica(data):
            # Else what needs no data, such as the number of the step, moves on where they are over.
            with tf.control_dependencies(
                [each for each in tf.nest.flatten(data) if tf.is_tensor(each)]
            ):
                return self.train_step(data) if learning else self.test_step(data)

        def step(data):
            self.learning = learning
            try:
                logs = strategy.run(of_replica, args=(data,))
            finally:
                self.learning = True
            return tf.nest.map_structure(
                lambda log: strategy.experimental_local_results(log)[0], logs
            )

        if self.run_eagerly:
            return step
        jit_compile = self.jit_compile and learning
        return tf.function(step, autograph=False, reduce_retracing=True, jit_compile=jit_compile)

    def repeated(self, step, data):
        """The function that does so many steps on the same data, and returns the logs of the last.

        XLA compiles the loop with the step: several steps are one launch, and each finds the state
        where the one before left it.

        Args:
            step: what `compiled_step` returned.
            data: its argument.

        Returns:
            Function of an integer >= 1.
        """
        if self.run_eagerly or self.steps_per_execution == 1:
            return lambda count: [step(data) for _ in range(count)][-1]

        def steps(count):
            outputs = step.get_concrete_function(data).structured_outputs
            logs = tf.nest.map_structure(lambda log: tf.zeros(log.shape, log.dtype), outputs)
            return tf.while_loop(
                lambda done, logs: done < count,
                lambda done, logs: (done + 1, step(data)),
                (tf.zeros_like(count), logs),
            )[1]

        several = tf.function(steps, autograph=False, jit_compile=self.jit_compile)
        return lambda count: several(tf.constant(count, tf.int64))  # XLA reaches no int32

    def make_train_function(self, force=False):
        """Makes the function that Keras's loop calls: some steps, and the logs of the last."""
        if self.train_function is not None and not force:
            return
        step = self.compiled_step()

        def steps(iterator, count):
            for _ in tf.range(count - 1):
                step(next(iterator))
            return step(next(iterator))

        def one(iterator, count):
            return step(next(iterator))

        several = one if self.steps_per_execution == 1 else steps
        several = several if self.run_eagerly else tf.function(several)
        self.train_function = lambda iterator: several(iterator, tf.constant(self.next_steps()[1]))

    def make_test_function(self, force=False):
        """Makes the function that Keras's loop of `evaluate` calls, as `make_train_function`."""
        if self.test_function is not None and not force:
            return
        step = self.compiled_step(learning=False)

        def steps(iterator):
            logs = step(next(iterator))
            for _ in range(self.steps_per_execution - 1):
                try:
                    logs = step(next(iterator))
                except (StopIteration, tf.errors.OutOfRangeError):
                    break
            return logs

        self.test_function = steps

    def get_metrics_result(self):
        """Nothing: the logs of a step hold all, each over all replicas, where Keras would add the
        replicas up."""
        return {}

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Keras builds from a batch here; but of this model only the optimizer may be unbuilt."""
        if self.compiled and not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)
