"""Callbacks of a training run: monitor and record."""

import time

import keras

from cueco_tf.evaluation.features import knn_accuracy
from cueco_tf.evaluation.networks import features, without_xla
from cueco_tf.evaluation.quality import label_free_quality
from cueco_tf.evaluation.vectors import check_features
from cueco_tf.methods.health import no_longer_finite
from cueco_tf.methods.inference import inference_network, save_network
from cueco_tf.parts.batch_norm import to_stock_layers
from cueco_tf.running import checkpoints
from cueco_tf.running.run_folder import columns
from cueco_tf.running.stopping import Interrupted


class Monitor(keras.callbacks.Callback):
    """Looks at the frozen features in every `every`-th epoch and the last one, and adds to its logs
    how many directions they use (`effective_rank`), how well k-means of them is set apart
    (`silhouette`) and, of a labelled set, their k-NN accuracy (`knn_top1`).

    Args:
        train: split to look at; where it is labelled, its features vote.
        test: labelled split to classify, or None.
        every: integer >= 1, epochs.
        epochs: integer >= 1, the length of training.
    """

    def __init__(self, train, test, every, epochs):
        super().__init__()
        self.train, self.test, self.every, self.epochs = train, test, every, epochs

    def on_train_begin(self, logs=None):
        """Makes the copy of the encoder that is looked at."""
        # A copy, for the model's own `predict` would wait for the other replicas' processes.
        self.encoder = without_xla(to_stock_layers(self.model.encoder))

    def on_epoch_end(self, epoch, logs=None):
        """Adds `effective_rank`, `silhouette` and `knn_top1`, in [0, 1], to the logs of an epoch
        whose turn it is; raises FloatingPointError for features that cannot be compared."""
        if (epoch + 1) % self.every and epoch + 1 != self.epochs:
            return
        self.encoder.set_weights(self.model.encoder.get_weights())
        train_x = self._features(self.train)
        logs |= label_free_quality(train_x)
        if self.test is not None:
            test_x = self._features(self.test)
            logs["knn_top1"] = knn_accuracy(train_x, self.train.labels, test_x, self.test.labels)

    def _features(self, split):
        try:
            return check_features(features(self.encoder, split), "Features")
        except ValueError:
            subject = "The encoder's features are too large, too small or"
            raise no_longer_finite(subject, self.model) from None


class EpochLogs(keras.callbacks.TensorBoard):
    """Writes each epoch's metrics for TensorBoard.

    Keras's own callback also hands every metric of every step to a summary writer that, with
    `update_freq="epoch"`, is not there. TensorFlow keeps about 8 KB of each such step for good:
    a run of 10,000 steps grew by 8.4 MB per 1000 with it, and by 0.4 without.
    """

    def __init__(self, folder):
        super().__init__(folder, write_graph=False)

    def on_train_batch_end(self, batch, logs=None):
        """Writes nothing: an epoch's means are enough."""
        pass


class ResumedMeans(keras.callbacks.Callback):
    """Puts back the running means of the epoch under way, which Keras resets when it begins.

    Args:
        put_back: what `checkpoints.restore` returned.
    """

    def __init__(self, put_back):
        super().__init__()
        self.put_back = put_back

    def on_epoch_begin(self, epoch, logs=None):
        """Puts the means back before the first epoch's first step."""
        if self.put_back is not None:
            self.put_back()
        self.put_back = None


class RunRecorder(keras.callbacks.Callback):
    """Keeps the run folder: a row of metrics and a checkpoint each epoch, snapshots on the way.

    Args:
        folder: `RunFolder`.
        config: resolved `RunConfig`.
        stop_requested: function without arguments; once it returns True, the state is saved after
            the step under way and `Interrupted` is raised.
    """

    SAVE_EVERY = 600  # seconds: an epoch may last hours

    def __init__(self, folder, config, stop_requested):
        super().__init__()
        self.folder, self.config, self.stop_requested = folder, config, stop_requested
        self.saver = checkpoints.Saver(folder.checkpoints)
        self.total_steps = config.epochs * config.steps_per_epoch

    def on_train_begin(self, logs=None):
        """Notes where training begins; at step 0 saves the first snapshot."""
        self.begun = self.step = int(self.model.step.numpy())
        self.saved_at = time.monotonic()
        if self.step == 0:
            self._snapshot(0)

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock of `images_per_second`."""
        # The first steps include building the graph, and the last ones of the first epoch, it may
        # be, that for a smaller batch.
        self.built = self.step > self.begun
        self.first_batch_at = self.last_batch_at = time.monotonic() if self.built else None
        self.first_step = self.last_step = self.step

    def on_train_batch_end(self, batch, logs=None):
        """Saves the snapshot of half the training, and a checkpoint when it is time for one or
        training has to stop."""
        before, self.step = self.step, int(self.model.step.numpy())
        now = time.monotonic()
        ends = self.step % self.config.steps_per_epoch == 0
        if self.first_batch_at is None:
            self.first_batch_at, self.first_step = now, self.step
        if self.built or not ends:
            self.last_batch_at, self.last_step = now, self.step
        if before < -(-self.total_steps // 2) <= self.step:
            self._snapshot(50)
        if ends:
            return  # saved together with the epoch's row, in `on_epoch_end`
        if self.stop_requested() or now - self.saved_at > self.SAVE_EVERY:
            self._save()

    def on_epoch_end(self, epoch, logs=None):
        """Writes the epoch's row and a checkpoint, and at the end of training the last snapshot."""
        steps = self.last_step - self.first_step
        if steps > 0:
            seconds = self.last_batch_at - self.first_batch_at
            logs["images_per_second"] = steps * self.config.batch_size / seconds
        rows = [row for row in self.folder.read_metrics(self.config) if row["epoch"] <= epoch]
        row = {name: float(logs[name]) for name in columns(self.config) if name in logs}
        self.folder.write_metrics([*rows, {**row, "epoch": epoch + 1}], self.config)
        if self.step == self.total_steps:
            self._snapshot(100)
        self._save()

    def on_train_end(self, logs=None):
        """Waits until the last checkpoint is written."""
        self.saver.wait()

    def _save(self):
        self.saver.save(self.model)
        self.saved_at = time.monotonic()
        if self.stop_requested():
            self.saver.wait()
            raise Interrupted

    def _snapshot(self, percent):
        save_network(self.folder.snapshot(percent), inference_network(self.model))
