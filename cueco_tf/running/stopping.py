"""How training is stopped: a signal to one worker, and all end after the same step."""

import os
import signal

import keras

from cueco_tf.distributed.supervisor import is_supervised


class StopSignal:
    """Notes SIGINT and SIGTERM while it is entered; a second one takes its usual course.

    `received` is the `signal.Signals` that came, or None.
    """

    def __init__(self):
        self.received = None

    def __enter__(self):
        numbers = (signal.SIGINT, signal.SIGTERM)
        self._former = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def _note(self, number, frame):
        self.received = signal.Signals(number)
        # A cluster's manager may send it to a supervisor, who hands it on, and to its child.
        if not is_supervised():
            signal.signal(number, self._former[number])
        # `print` is not safe in a signal handler: the progress bar may be writing.
        os.write(1, f"\n{self.received.name}: saving after this step ...\n".encode())

    def __exit__(self, *exception):
        for number, former in self._former.items():
            signal.signal(number, former)


class Interrupted(Exception):
    """Training was asked to stop, and its state is saved."""


class StopTogether(keras.callbacks.Callback):
    """Ends the training of all workers after the same step, once one of them is told to.

    Args:
        workers: `Workers`.
        stop_requested: function without arguments: whether this worker was told to.
    """

    def __init__(self, workers, stop_requested):
        super().__init__()
        self.workers, self.stop_requested = workers, stop_requested
        self._agreed = False

    def agreed(self):
        """Whether all workers stop after the step that they have done."""
        return self._agreed if self.workers.count > 1 else self.stop_requested()

    def on_train_batch_end(self, batch, logs=None):
        """Asks the other workers after each step; all but the chief stop here."""
        if self.workers.count > 1:
            self._agreed = self.workers.any(self.stop_requested())
        if self.agreed() and not self.workers.is_chief:
            raise Interrupted  # the chief does so as soon as the state is saved
