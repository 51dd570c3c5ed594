"""The processes that train one run: which strategy they use, and how they agree.

The first worker is the chief: it alone reads and writes the run folder, which need not be on a disk
that the others see. What it decides (a configuration, or a refusal) and the state that it starts
from go to the others as messages, so that all begin at the same step with the same numbers, in
whatever order they come up.
"""

import os

import numpy as np
import tensorflow as tf

from cueco_tf.distributed.replicas import own_part


class Refused(ValueError):
    """Another worker cannot go on, for a reason that its user has to mend."""


def join(choice, several):
    """Joins the other workers, and waits until all are there.

    Has to come before anything else that TensorFlow does.

    Args:
        choice: one of `DISTRIBUTIONS`.
        several: whether `TF_CONFIG` names other processes to train with.

    Returns:
        `Workers`.
    """
    if several:
        return Workers(tf.distribute.MultiWorkerMirroredStrategy())
    gpus = tf.config.list_logical_devices("GPU")
    if choice == "mirrored" or (choice == "auto" and len(gpus) > 1):
        devices = gpus or tf.config.list_logical_devices("CPU")
        return Workers(tf.distribute.MirroredStrategy([device.name for device in devices]))
    return Workers(tf.distribute.get_strategy())


class Workers:
    """This process and those it trains with.

    Args:
        strategy: `tf.distribute.Strategy`.
    """

    def __init__(self, strategy):
        self.strategy = strategy
        self.index, self.count, _ = own_part(strategy)

        @tf.function
        def total(number):
            def sum_of_all(value):
                context = tf.distribute.get_replica_context()
                # The identity gives the value a device, without which it cannot be reduced.
                return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(value))

            return strategy.run(sum_of_all, (number,))

        self._total = total

    @property
    def is_chief(self):
        """Whether this process is the one that touches the run folder."""
        return self.index == 0

    def any(self, condition):
        """Whether the condition holds on any worker. All have to ask."""
        if self.count == 1:
            return condition
        total = self._total(tf.constant(float(condition)))
        return bool(self.strategy.experimental_local_results(total)[0] > 0)

    def share(self, message):
        """The chief's message, on every worker. All have to ask.

        Args:
            message: bytes; the chief's alone counts.

        Returns:
            Bytes.
        """
        return self._exchange(message if self.is_chief else b"")[0]

    def agree(self, attempt, *errors):
        """Lets all workers do something that may be refused; when one refuses, all do.

        Args:
            attempt: function without arguments.
            errors: the classes of exceptions that are a refusal. With any other, a worker dies
                alone, and the rest notice.

        Returns:
            What `attempt` returned here.

        Raises:
            The exception of `attempt`; Refused where it was another worker's.
        """
        result, refusal = None, None
        try:
            result = attempt()
        except errors as error:
            refusal = error
        # A path in the message need not be valid text.
        messages = self._exchange(b"" if refusal is None else os.fsencode(str(refusal)))
        if refusal is not None:
            raise refusal
        for index, message in enumerate(messages):
            if message:
                raise Refused(f"{os.fsdecode(message)} (worker {index})")
        return result

    def leave(self):
        """Waits until all are here: a group that a worker has left counts as broken."""
        self._exchange(b"")

    def _exchange(self, message):
        """Everybody's messages, in the order of the workers."""
        if self.count == 1:
            return [message]
        sizes = self._gather(np.array([len(message)], np.int64))
        padded = message + bytes(8 - len(message) % 8)  # never empty, which TensorFlow crashes on
        everything = self._gather(np.frombuffer(padded, np.int64)).tobytes()
        starts = np.cumsum([0, *(sizes // 8 + 1) * 8])
        return [everything[i : i + n] for i, n in zip(starts[:-1], sizes, strict=True)]

    def _gather(self, vector):
        """Joins the int64 vectors of all workers. (Of the types that TensorFlow gathers, this one
        stays on the device on a GPU.)"""
        local = self.strategy.num_replicas_in_sync // self.count

        def of_replica(context):
            speaks = context.replica_id_in_sync_group % local == 0
            return tf.constant(vector if speaks else vector[:0])

        values = self.strategy.experimental_distribute_values_from_function(of_replica)
        return self.strategy.gather(values, axis=0).numpy()
