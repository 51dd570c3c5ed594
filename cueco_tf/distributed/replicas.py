"""Keras models trained by several replicas: devices of one machine, or processes on several.

Stock Keras 3.15 cannot `fit` under `MultiWorkerMirroredStrategy`: it reduces logs, which are
scalars, along their first axis (https://github.com/keras-team/keras/issues/20585). It also leaves
dividing batches to TensorFlow, which parts a global batch that workers make in parts themselves.
"""

import tensorflow as tf
from keras import ops

from cueco_tf.distributed.compiling import CompiledModel


class ReplicatedModel(CompiledModel):
    """A model whose `train_step` sees a share of the global batch, of any size.

    There are as many labels as images are its own. More images, which follow those, are others':
    they serve the statistics of BatchNormalization, and enter neither losses nor state.

    The step computes with the numbers of all replicas (`gather`, `replica_sum`), so that what it
    logs is the same everywhere and what it learns does not depend on how many replicas there are.
    Subclasses build all their weights in `__init__`.
    """

    learning = True  # but in the step of `evaluate`, while it is traced

    def predict(self, *args, **kwargs):
        """As `keras.Model.predict`; XLA, and several steps between two looks, are for training."""
        former = self.steps_per_execution, self.jit_compile
        self.steps_per_execution, self.jit_compile = 1, False
        try:
            return super().predict(*args, **kwargs)
        finally:
            self.steps_per_execution, self.jit_compile = former

    def gather(self, values, parts=1, gradient=False):
        """Joins the values of all replicas, in the order of one global batch.

        Args:
            values: `(parts * batch, ...)`: a replica's share of each of `parts` global batches.
            parts: integer.
            gradient: whether the gradient of what every replica makes of the result goes back to
                the replica that a row came from. Defaults to False: none goes back.

        Returns:
            `(parts * global batch, ...)`, the same on every replica.
        """
        values = values if gradient else ops.stop_gradient(values)
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync == 1:
            return values
        # One collective, along the batch: the parts travel side by side.
        tail = values.shape[1:]
        batch = ops.shape(values)[0] // parts  # not -1, which an empty share leaves open
        beside = ops.swapaxes(ops.reshape(values, (parts, batch, *tail)), 0, 1)
        gathered = context.all_gather(beside, axis=0)
        return ops.reshape(ops.swapaxes(gathered, 0, 1), (-1, *tail))

    def own_places(self, own):
        """Where this replica's examples stand in what `gather` joins.

        Args:
            own: integer scalar, how many they are.

        Returns:
            `(own,)` int64.
        """
        places = tf.range(tf.cast(own, tf.int64))
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync == 1:
            return places
        sizes = context.all_gather(tf.cast(own, tf.int64)[None], axis=0)  # (replicas,)
        before = tf.range(tf.size(sizes)) < context.replica_id_in_sync_group
        return places + tf.reduce_sum(tf.where(before, sizes, 0))

    def replica_sum(self, value):
        """Sum of a tensor over all replicas."""
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, value)

    def minimise(self, loss, tape):
        """Takes a gradient step on this replica's share of the global loss (gradients are summed
        over replicas, so the share has to be a sum divided by the *global* batch)."""
        variables = self.trainable_variables
        gradients = tape.gradient(loss, variables)

        def apply(gradients):
            self.optimizer.apply_gradients(zip(gradients, variables, strict=True))

        self.move_weights(apply, gradients)

    def move_weights(self, function, *arguments):
        """Calls a function that assigns to many weights, in one launch where that was asked for."""
        if self._compiled_update:
            function = tf.function(function, autograph=False, jit_compile=True)
        function(*arguments)

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
        """Makes the function that Keras's loop calls: some steps, and the logs of the last.

        Keras's own overshoots an epoch whose length `steps_per_execution` does not divide where
        batches never end, and reduces logs by a rule that fails among several processes.
        """
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


def own_part(strategy):
    """The part of each batch that this process has to make: see `views`."""
    resolver = getattr(strategy, "cluster_resolver", None)
    cluster = resolver.cluster_spec().as_dict() if resolver is not None else {}
    chiefs, workers = len(cluster.get("chief", ())), len(cluster.get("worker", ()))
    if chiefs + workers < 2:
        return 0, 1, strategy.num_replicas_in_sync
    index = resolver.task_id + (chiefs if resolver.task_type == "worker" else 0)
    return index, chiefs + workers, strategy.num_replicas_in_sync


def share_out(strategy, batches):
    """Hands the batches of this process's part to its replicas.

    Args:
        strategy: `tf.distribute.Strategy`.
        batches: data set of `((view1, view2), labels)`: this process's part of each global batch.

    Returns:
        What `keras.Model.fit` takes under the strategy.
    """
    if strategy.num_replicas_in_sync == 1:
        return batches
    replicas = strategy.num_replicas_in_sync // own_part(strategy)[1]

    def divide(views, labels):
        own, count = tf.shape(labels)[0], tf.shape(views[0])[0]
        whole = tf.logical_or(count > own, own < replicas)  # too few images for all

        def share(i):
            start, stop = own * i // replicas, own * (i + 1) // replicas
            length = tf.where(whole, count, stop - start)
            places = (start + tf.range(length)) % count
            return tuple(tf.gather(view, places) for view in views), labels[start:stop]

        return tf.data.Dataset.range(replicas, output_type=tf.int32).map(share)

    shares = batches.flat_map(divide)
    if batches.cardinality() == tf.data.INFINITE_CARDINALITY:
        # Else the replicas would have to agree before each step that nobody has run out.
        shares = shares.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    return strategy.distribute_datasets_from_function(lambda _: shares)
