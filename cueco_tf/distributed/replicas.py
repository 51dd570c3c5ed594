"""Keras models trained by several replicas: devices of one machine, or processes on several.

Stock Keras 3.15 cannot `fit` under `MultiWorkerMirroredStrategy`: it reduces logs, which are
scalars, along their first axis (https://github.com/keras-team/keras/issues/20585). And it leaves
the division of batches to TensorFlow, which does not keep a global batch together when workers
make their parts themselves.
"""

import keras
import tensorflow as tf
from keras import ops


class ReplicatedModel(keras.Model):
    """A model whose `train_step` sees a share of the global batch, of any size.

    There are as many labels as images are its own. More images, which follow those, are others':
    they serve the statistics of BatchNormalization, and enter neither losses nor state.

    The step computes with the numbers of all replicas (`gather`, `replica_sum`), so that what it
    logs is the same everywhere and what it learns does not depend on how many replicas there are.
    Subclasses build all their weights in `__init__`.
    """

    def gather(self, values, parts=1):
        """Joins the values of all replicas, in the order of one global batch.

        Args:
            values: `(parts * batch, ...)`: a replica's share of each of `parts` global batches.
            parts: integer.

        Returns:
            `(parts * global batch, ...)`, the same on every replica, without gradient.
        """
        values = ops.stop_gradient(values)
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync == 1:
            return values
        # One collective, along the batch: the parts travel side by side.
        tail = values.shape[1:]
        batch = ops.shape(values)[0] // parts  # not -1, which an empty share leaves open
        beside = ops.swapaxes(ops.reshape(values, (parts, batch, *tail)), 0, 1)
        gathered = context.all_gather(beside, axis=0)
        return ops.reshape(ops.swapaxes(gathered, 0, 1), (-1, *tail))

    def replica_sum(self, value):
        """Sum of a tensor over all replicas."""
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, value)

    def minimise(self, loss, tape):
        """Takes a gradient step on this replica's share of the global loss (gradients are summed
        over replicas, so the share has to be a sum divided by the *global* batch)."""
        variables = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    def make_train_function(self, force=False):
        """Makes the function that does one step, and among several processes one of our own, which
        takes a replica's logs as they are."""
        strategy = self.distribute_strategy
        if own_part(strategy)[1] == 1 or (self.train_function is not None and not force):
            return super().make_train_function(force)

        def step(data):
            logs = strategy.run(self.train_step, args=(data,))
            return tf.nest.map_structure(
                lambda log: strategy.experimental_local_results(log)[0], logs
            )

        if not self.run_eagerly:
            step = tf.function(step, reduce_retracing=True, jit_compile=self.jit_compile)

        def steps(iterator):
            for _ in range(self.steps_per_execution):
                logs = step(next(iterator))
            return logs

        self.train_function = steps if self.run_eagerly else tf.function(steps)
        return self.train_function

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Keras builds models from a batch here; but this one is built, and only its optimizer
        may not be."""
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
