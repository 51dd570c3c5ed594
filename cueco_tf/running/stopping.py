"""How training is stopped: a signal to one worker, and all end after the same step."""

import os
import signal

import keras

from cueco_tf.distributed.supervisor import is_supervised
from cueco_tf.process import handling


class StopSignal:
    """Notes SIGINT and SIGTERM while it is entered, in the main thread; a second one takes its
    usual course.

    `received` is the `signal.Signals` that came, or None.

    Args:
        asked: `threading.Event` by which a program stops training from any thread, or None.
        leave: function without arguments, called at the first signal.
    """

    def __init__(self, asked=None, leave=lambda: None):
        self.asked, self.leave, self.received = asked, leave, None

    def __enter__(self):
        numbers = (signal.SIGINT, signal.SIGTERM)
        self._former = {number: signal.getsignal(number) for number in numbers}
        self._handling = handling(self._note, *numbers)
        self._handling.__enter__()
        return self

    def requested(self):
        """Whether training is to save and stop."""
        return self.received is not None or (self.asked is not None and self.asked.is_set())

    def _note(self, number, frame):
        self.received = signal.Signals(number)
        # A cluster's manager may send it to a supervisor, who hands it on, and to its child.
        if not is_supervised():
            signal.signal(number, self._former[number] or signal.SIG_DFL)
        self.leave()
        # `print` is not safe in a signal handler: the progress bar may be writing.
        os.write(1, f"\n{self.received.name}: saving after this step ...\n".encode())

    def __exit__(self, *exception):
        self._handling.__exit__(*exception)


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
