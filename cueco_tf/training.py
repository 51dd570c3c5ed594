"""One training run from configuration to scores: what the command line does, as a function."""

import dataclasses
import os
import shlex
import signal

import keras
import tensorflow as tf

from cueco_tf import checkpoints, data, scoring
from cueco_tf.encoders import to_stock_layers
from cueco_tf.recording import Interrupted, KnnMonitor, Progress, RunRecorder
from cueco_tf.run_folder import SCORES, score_table
from cueco_tf.runs import build_model, save_network

# The monitor looks at a sample, ten times a run: enough to see a trend, cheap enough to forget.
_MONITOR_TRAIN, _MONITOR_TEST, _MONITORED = 10_000, 5_000, 10
_SCORED_TRAIN, _SCORED_TEST = 50_000, 10_000
# Raw pixels are scored beside the features where that takes seconds.
_RAW_LIMIT = 5_000_000  # numbers in the training images


def train(config, folder, data_dir=None, resume=False):
    """Trains a run, or goes on with it, and scores it.

    Args:
        config: `RunConfig`, the run's own where it is to be resumed.
        folder: `RunFolder`.
        data_dir: where TensorFlow Datasets keeps its sets, or None.
        resume: whether to go on with the run in the folder, if there is one.

    Returns:
        The exit code: 0 when finished, 128 + the signal's number when stopped by SIGINT or SIGTERM.

    Raises:
        ConfigError, RunError, DataError, CheckpointError: for what the user has to mend.
        FloatingPointError: when the loss is no longer finite.
    """
    started = resume and folder.config.exists()
    if started:
        images = data.load_for(config, data_dir)
        folder.mend()
    else:
        images = data.load(config.dataset, data_dir, config.image_size, config.holdout)
        config = config.resolve(len(images.train), images.train.image_size, images.num_classes)
        config = dataclasses.replace(config, fingerprint=images.train.fingerprint())
        folder.create(config)
    with _strategy().scope():
        model = build_model(config)
    put_means_back = checkpoints.restore(folder.checkpoints, model) if started else None
    _introduce(config, images, model, folder)

    with _StopSignal() as stop:
        progress = Progress(config.epochs * config.steps_per_epoch)
        callbacks = [
            keras.callbacks.TensorBoard(folder.logs, write_graph=False),
            RunRecorder(folder, config, lambda: stop.received is not None, put_means_back),
            progress,
        ]
        if images.test is not None:
            sample = images.train.sample(_MONITOR_TRAIN), images.test.sample(_MONITOR_TEST)
            every = max(1, config.epochs // _MONITORED)
            callbacks.insert(0, KnnMonitor(*sample, every, config.epochs))
        try:
            _fit(model, config, images.train, callbacks)
        except Interrupted:
            progress.close()
            where = ["--run-dir", str(folder.path), *(["--data-dir", data_dir] if data_dir else [])]
            print(
                f"Stopped by {stop.received.name}; the state at step {int(model.step.numpy())} is "
                f"saved. Go on with: python -m cueco_tf.train {shlex.join(where)} --resume"
            )
            return 128 + stop.received
        finally:
            progress.close()
    _finish(config, images, model, folder)
    return 0


def _strategy():
    """All GPUs of the machine where there are several, else the one device."""
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def _introduce(config, images, model, folder):
    """Prints what is about to happen."""
    for name, value in dataclasses.asdict(config).items():
        print(f"  {name:22} {value}")
    encoder, head = model.encoder.count_params(), model.head.count_params()
    kind = "held-out" if config.holdout else "test"
    test = "no labels" if images.test is None else f"{len(images.test)} {kind} images"
    print(
        f"{len(images.train)} training images, {test}; encoder {encoder:,} parameters, projection "
        f"head {head:,}; {config.epochs} epochs of {config.steps_per_epoch} steps, from step "
        f"{int(model.step.numpy())}\nRun folder: {folder.path}"
    )


def _fit(model, config, split, callbacks):
    """Trains from the model's step to the end, beginning with what is left of the epoch."""
    per_epoch = config.steps_per_epoch
    while (step := int(model.step.numpy())) < config.epochs * per_epoch:
        epoch, done = divmod(step, per_epoch)
        model.fit(
            split.training_batches(config.batch_size, model.augment, config.seed, step),
            initial_epoch=epoch,
            epochs=epoch + 1 if done else config.epochs,
            steps_per_epoch=per_epoch - done,
            callbacks=callbacks,
            verbose=0,
        )


def _finish(config, images, model, folder):
    """Saves the encoder, scores it and prints the table."""
    encoder = to_stock_layers(model.encoder)
    save_network(folder.encoder, encoder)
    scores = dict.fromkeys(SCORES)
    if images.test is not None:
        print("Scoring the frozen features ...")
        train, test = images.train.sample(_SCORED_TRAIN), images.test.sample(_SCORED_TEST)
        scores |= scoring.score_clusters(model, test)
        try:
            scores |= scoring.score_network(encoder, train, test, config.seed)
            if isinstance(images.train, data.ArraySplit) and images.train.images.size <= _RAW_LIMIT:
                pixels = scoring.pixel_network(config.image_size)
                raw = scoring.score_network(pixels, train, test, config.seed)
                scores |= {f"raw_{name}": value for name, value in raw.items()}
        except ValueError as error:  # too few images, or a single class among them
            print(f"No k-NN, linear and k-means scores: {error}")
    last = folder.read_metrics()[-1]
    summary = scores | {
        "dataset": config.dataset,
        "holdout": config.holdout,
        "epochs": config.epochs,
        "loss": last["loss"],
        "usage_entropy": last["usage_entropy"],
        "dead_clusters": last["dead_clusters"],
    }
    folder.write_summary(summary)
    print(f"\n{score_table(summary)}\n")
    print(
        f"Run folder: {folder.path}\n"
        f'Encoder:    cueco_tf.load_encoder("{folder.path}")(images) -> features '
        f"(n, {encoder.output_shape[-1]})"
    )


class _StopSignal:
    """Notes SIGINT and SIGTERM while it is entered; a second one takes its usual course."""

    def __init__(self):
        self.received = None

    def __enter__(self):
        numbers = (signal.SIGINT, signal.SIGTERM)
        self._former = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def _note(self, number, frame):
        self.received = signal.Signals(number)
        signal.signal(number, self._former[number])
        # `print` is not safe in a signal handler: the progress bar may be writing.
        os.write(1, f"\n{self.received.name}: saving after this step ...\n".encode())

    def __exit__(self, *exception):
        for number, former in self._former.items():
            signal.signal(number, former)
