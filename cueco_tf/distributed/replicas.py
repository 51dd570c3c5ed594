"""Keras models trained by several replicas: devices of one machine, or processes on several.

Stock Keras 3.15 cannot `fit` under `MultiWorkerMirroredStrategy`: it reduces logs, which are
scalars, along their first axis (https://github.com/keras-team/keras/issues/20585). It also leaves
dividing batches to TensorFlow, which parts a global batch that workers make in parts themselves.
"""

import math

import keras
import tensorflow as tf
from keras import ops

from cueco_tf.distributed.stepping import SteppingModel
from cueco_tf.parts.batch_norm import FusedBatchNormalization, moving_later
from cueco_tf.parts.optimizers import moves_copies


class ReplicatedModel(SteppingModel):
    """A model whose `train_step` sees a share of the global batch, of any size.

    There are as many labels as images are its own. More images, which follow those, are others':
    they serve the statistics of BatchNormalization, and enter neither losses nor state.

    The step computes with the numbers of all replicas (`gather`, `replica_sum`), so that what it
    logs is the same everywhere and what it learns does not depend on how many replicas there are.
    Subclasses build all their weights in `__init__`.
    """

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

        def apply(*gradients):
            self.optimizer.apply_gradients(zip(gradients, variables, strict=True))

        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        if replicas == 1:
            self.move_weights(apply, *gradients)
        elif moves_copies(self.optimizer) and all(g is not None for g in gradients):
            # One collective for all of them.
            joined = self.at_once(
                lambda *each: tf.concat([tf.reshape(g, [-1]) for g in each], 0), *gradients
            )
            joined = self.replica_sum(joined)
            self.move_weights(lambda joined: apply(*_parted(joined, variables)), joined)
        elif isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            # It asks one replica whether the gradients are finite, and adds them up after that.
            apply(*(None if g is None else self.replica_sum(g) / replicas for g in gradients))
        else:
            apply(*gradients)

    def move_weights(self, function, *arguments):
        """Calls a function that assigns to many weights what it would on any replica, in one launch
        where that was asked for."""

        def move(*arguments):
            self._in_one(function, self._compiled_update)(*arguments)

        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync == 1:
            move(*arguments)
            return

        def move_each(strategy, *arguments):
            # By a variable it knows the replicas, and what is assigned within is not averaged.
            strategy.extended.update(
                self.optimizer.variables[0].value, lambda _, *own: move(*own), arguments
            )

        context.merge_call(move_each, arguments)

    def run(self, network, inputs):
        """A network's outputs: in training mode, but in the step of `evaluate`."""
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync == 1 or not self.learning or not _is_apart(network):
            return network(inputs, training=self.learning)
        moved = []

        def compute(inputs):
            with moving_later() as later:
                outputs = network(inputs, training=True)
            moved[:] = [variable for variable, _ in later.values()]
            return outputs, [value for _, value in later.values()]

        outputs, values = self._in_one(compute, self._compiled_parts)(inputs)
        if moved:
            # One collective for all of them.
            means = context.all_reduce(tf.distribute.ReduceOp.MEAN, tf.concat(values, 0))
            self.move_weights(lambda means: _assign(moved, _parted(means, moved)), means)
        return outputs

    def at_once(self, function, *arguments):
        """What a function without state gives that asks no other replica."""
        return self._in_one(function, self._compiled_parts)(*arguments)

    def _in_one(self, function, compiled):
        if not compiled or self.run_eagerly:
            return function
        # Made anew for each place that calls it and each replica: it is traced with them.
        return tf.function(function, autograph=False, jit_compile=True)


def _is_apart(network):
    """Whether a network, trained, asks no other replica and assigns what may wait alone."""
    stateful = [
        layer
        for layer in network._flatten_layers()
        if layer._non_trainable_variables or layer._seed_generators
    ]
    return all(isinstance(each, FusedBatchNormalization) and each.is_apart for each in stateful)


def _parted(joined, variables):
    """Tensors of the variables' shapes, of all their values in one vector."""
    parts = tf.split(joined, [math.prod(variable.shape) for variable in variables])
    pairs = zip(parts, variables, strict=True)
    return [tf.reshape(part, variable.shape) for part, variable in pairs]


def _assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


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
            own_views = tf.nest.map_structure(lambda each: tf.gather(each, places), views)
            return own_views, labels[start:stop]

        return tf.data.Dataset.range(replicas, output_type=tf.int32).map(share)

    shares = batches.flat_map(divide)
    if batches.cardinality() == tf.data.INFINITE_CARDINALITY:
        # Else the replicas would have to agree before each step that nobody has run out.
        shares = shares.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    return strategy.distribute_datasets_from_function(lambda _: shares)
