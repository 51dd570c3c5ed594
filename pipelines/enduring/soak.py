"""Trains for many small steps and watches memory and retracing."""

import collections
import os
from pathlib import Path

import keras
import numpy as np

from cueco_tf import data
from cueco_tf.methods.building import build_model, fit_to_devices
from cueco_tf.running.recording import EpochLogs, Monitor, RunRecorder
from cueco_tf.running.run_folder import RunFolder
from cueco_tf.settings.run import RunConfig

_BATCH_SIZE = 32
_SETTLED = 0.5  # of the run: before, buffers still fill, and the clusters start at three tenths


def soak(folder, steps):
    """Trains on the digits with all that a run does: steps, monitor, metrics, logs, checkpoints.

    Args:
        folder: path of an empty or new folder for the run.
        steps: integer, made up to whole epochs of 45 steps, at least ten of them.

    Returns:
        A dict: `steps`; `samples`, `(step, resident megabytes)` at the end of each epoch;
        `megabytes_per_1000_steps`, the slope of a straight line through the second half of
        them; `traces`, how often the training step and the monitor's prediction had been traced
        after the second epoch (an epoch's last batch is smaller) and at the end.
    """
    images = data.load("digits", image_size=8)
    per_epoch = -(-len(images.train) // _BATCH_SIZE)
    config = RunConfig.for_dataset(
        "digits",
        image_size=8,
        width=8,
        batch_size=_BATCH_SIZE,
        queue_size=300,
        epochs=max(10, -(-steps // per_epoch)),
    ).resolve(len(images.train), 8, images.num_classes)
    config = fit_to_devices(config)
    run = RunFolder(Path(folder))
    run.create(config)
    model = build_model(config)
    monitor = Monitor(images.train.sample(200), images.test, 1, config.epochs)
    watch = _Watch(monitor)
    model.fit(
        images.train.training_batches(config.batch_size, model.augment, config.seed, 0),
        epochs=config.epochs,
        steps_per_epoch=per_epoch,
        verbose=0,
        callbacks=[
            monitor,
            EpochLogs(run.logs),
            RunRecorder(run, config, lambda: False),
            watch,
        ],
    )
    return {
        "steps": config.epochs * per_epoch,
        "samples": watch.samples,
        "megabytes_per_1000_steps": 1000 * slope(watch.samples),
        "traces": {"after two epochs": watch.traces[1], "at the end": watch.traces[-1]},
    }


def slope(samples):
    """Megabytes a step: least squares on the second half of the samples."""
    step, megabytes = np.array(samples[int(_SETTLED * len(samples)) :]).T
    return float(np.polyfit(step, megabytes, 1)[0])


class _Watch(keras.callbacks.Callback):
    """Notes memory, and how often TensorFlow has called the Python code of the steps: it does so
    once for each time it traces them.

    Args:
        monitor: the `Monitor` whose predictions are watched as well; it comes first.
    """

    def __init__(self, monitor):
        super().__init__()
        self.monitor = monitor
        self.samples, self.traces, self.calls = [], [], collections.Counter()

    def set_model(self, model):
        super().set_model(model)
        model.train_step = self._counted("training step", model.train_step)

    def on_train_begin(self, logs=None):
        encoder = self.monitor.encoder  # made when training begins
        encoder.predict_step = self._counted("prediction", encoder.predict_step)

    def _counted(self, name, step):
        def counted(data):
            self.calls[name] += 1
            return step(data)

        return counted

    def on_epoch_end(self, epoch, logs=None):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        megabytes = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
        self.samples.append((int(self.model.step.numpy()), megabytes))
        self.traces.append(dict(self.calls))
