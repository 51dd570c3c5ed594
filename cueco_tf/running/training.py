"""One training run from configuration to scores: what the command line does, as a function."""

import contextlib
import dataclasses
import shlex
import signal
import sys

from cueco_tf import data
from cueco_tf.data.copies import NONE
from cueco_tf.distributed.replicas import own_part, share_out
from cueco_tf.methods.building import build_model, first_encoder
from cueco_tf.methods.freezing import frozen_encoder
from cueco_tf.running import checkpoints
from cueco_tf.running.finishing import finish
from cueco_tf.running.gathering import completed, keep, load, scored_on
from cueco_tf.running.loggers import loggers
from cueco_tf.running.recording import Monitor, ResumedMeans, RunRecorder
from cueco_tf.running.run_folder import RunError
from cueco_tf.running.showing import Progress
from cueco_tf.running.starting import checksum, read_start, write_start
from cueco_tf.running.stopping import Interrupted, StopSignal, StopTogether
from cueco_tf.settings.fields import ConfigError
from cueco_tf.settings.parser import as_typed

# The monitor looks at a sample, ten times a run: enough to see a trend, cheap enough to forget.
_MONITOR_TRAIN, _MONITOR_TEST, _MONITORED = 10_000, 5_000, 10
_MONITOR_UNLABELLED = 2_000


def train(config, folder, data_dir, cache, resume, workers, stop=None, log=("tensorboard",)):
    """Trains a run, or goes on with it, and scores it. The chief's process owns the folder.

    Args:
        config: `RunConfig`, the run's own where it is to be resumed.
        folder: `RunFolder`.
        data_dir: where TensorFlow Datasets keeps its sets, or None.
        cache: where small copies of image files are kept, as in `data.copies.keep_copies`.
        resume: whether to go on with the run in the folder, if there is one.
        workers: `Workers`; the chief's configuration, folder and `resume` count.
        stop: `StopSignal` not yet entered, or None for one of signals alone.
        log: names of `LOGGERS`, which the chief tells of each epoch.

    Returns:
        The exit code: 0 when finished, 128 + the signal's number when stopped by SIGINT or SIGTERM.

    Raises:
        ConfigError, RunError, DataError, CacheError, CheckpointError, Refused: for what the user
            has to mend.
        FloatingPointError: when the loss is no longer finite.
    """
    images = load(config, data_dir, workers)
    config = completed(config, images, workers)
    scored = scored_on(config, images, data_dir, workers)
    with contextlib.ExitStack() as held:
        kept = keep(images, cache, workers, held)
        if config.eval_dataset is None:
            scored = kept
        else:  # on all workers, though the chief alone has it
            where = cache if workers.is_chief else NONE
            scored = keep(scored, where, workers, held, trained=False)
        return _train(config, (kept, scored), folder, data_dir, resume, workers, stop, log)


def _train(config, sets, folder, data_dir, resume, workers, stop, log):
    """Trains on the first of two data sets, and scores on the second."""
    images, scored = sets
    begun = _begun(config, folder, workers)
    config, model = _build(config, begun, workers.strategy)

    def open_folder():
        if workers.is_chief:
            return _open(folder, config, model, resume, begun)

    put_means_back = workers.agree(open_folder, RunError, checkpoints.CheckpointError, OSError)
    if workers.count > 1:
        put_means_back = checkpoints.unpack(workers.share(checkpoints.pack(model)), model)
    if workers.is_chief:
        _introduce(config, images, scored, model, folder)

    with stop or StopSignal() as stop, loggers(log, folder, config, workers) as told:
        progress = Progress(config)
        callbacks = _callbacks(config, scored, folder, progress, stop, workers, told)
        if int(model.step.numpy()) % config.steps_per_epoch:
            callbacks.append(ResumedMeans(put_means_back))
        try:
            _fit(model, config, images.train, callbacks)
        except Interrupted:
            progress.close()
            # Another worker may have got it; or a program asked, which counts as this.
            received = stop.received or signal.SIGTERM
            if workers.is_chief:
                _say_how_to_go_on(received, model, folder, data_dir)
            return 128 + received
        finally:
            progress.close()
            for callback in callbacks:
                if isinstance(callback, RunRecorder):  # Keras tells it nothing of an exception
                    callback.saver.settle()
    if workers.is_chief:
        finish(config, images, scored, model, folder)
    workers.leave()
    return 0


def _begun(config, folder, workers):
    """What the encoder is or was at the run's beginning, on every worker: the content of the run's
    `start.keras`, or None where settings alone make it."""
    if not config.keeps_start:
        return None

    def begin():
        if not workers.is_chief:
            return b""
        with _of_keras():
            return read_start(folder, config) or first_encoder(config)

    return workers.share(workers.agree(begin, ConfigError, RunError, OSError))


def _build(config, begun, strategy):
    """The configuration, with the checksum of what the encoder began as, and its model."""
    if begun is not None:
        config = dataclasses.replace(config, start=checksum(begun))
    with _of_keras(), strategy.scope():
        return config, build_model(config, begun)


@contextlib.contextmanager
def _of_keras():
    try:
        yield
    except ConfigError:
        raise
    except ValueError as error:  # of what Keras is set to
        raise RunError(str(error)) from error


def _open(folder, config, model, resume, begun):
    """Makes the run folder, or loads the newest state in it into the model.

    Returns:
        What `checkpoints.restore` returns.
    """
    if not (resume and folder.config.exists()):
        if begun is not None:
            write_start(folder, begun)
        folder.create(config)
        return None
    folder.check_same(folder.read_config(), config)
    folder.mend()
    return checkpoints.restore(folder.checkpoints, model)


def _callbacks(config, scored, folder, progress, stop, workers, told):
    """What watches and records the run: nearly all of it the chief's."""
    together = StopTogether(workers, stop.requested)
    if not workers.is_chief:
        return [together]
    every = max(1, config.epochs // _MONITORED)
    if scored.test is None:
        samples = scored.train.sample(_MONITOR_UNLABELLED), None
    else:
        splits = (scored.train, _MONITOR_TRAIN), (scored.test, _MONITOR_TEST)
        samples = [split.labelled().sample(most) for split, most in splits]
    monitor = Monitor(*samples, every, config.epochs)
    recorder = RunRecorder(folder, config, together.agreed)
    return [together, monitor, *told, recorder, progress]


def _introduce(config, images, scored, model, folder):
    """Prints what is about to happen, and warns of a batch that helps nobody."""
    for name, value in config.flat().items():
        print(f"  {name:22} {value}")
    encoder, head = model.encoder.count_params(), model.head.count_params()
    kind = "held-out" if config.holdout else "test"
    test = "no labels" if scored.test is None else f"{len(scored.test)} {kind} images"
    test += "" if scored is images else f" of {scored.name}"
    print(
        f"{len(images.train)} training images, {test}; encoder {encoder:,} parameters, projection "
        f"head {head:,}; {config.epochs} epochs of {config.steps_per_epoch} steps, from step "
        f"{int(model.step.numpy())}\nRun folder: {folder.path}"
    )
    batch = f"warning: --batch-size {config.batch_size}"
    if config.batch_size > len(images.train):
        print(f"{batch} is more than the training images: take fewer.", file=sys.stderr)
    if config.batch_size == 1:
        print(f"{batch} leaves BatchNormalization one image: take 32 or more.", file=sys.stderr)


def _fit(model, config, split, callbacks):
    """Trains from the model's step to the end, beginning with what is left of the epoch."""
    per_epoch, strategy = config.steps_per_epoch, model.distribute_strategy
    while (step := int(model.step.numpy())) < config.epochs * per_epoch:
        epoch, done = divmod(step, per_epoch)
        frozen = epoch < config.freeze_epochs
        end = config.freeze_epochs if frozen else config.epochs
        if isinstance(split, data.ArraySplit):
            images = dict(x=split.images, y=split.labels, batch_size=config.batch_size)
        else:
            batches = split.training_batches(
                config.batch_size, model.sent(), config.seed, step, own_part(strategy)
            )
            images = dict(x=share_out(strategy, batches))
        with frozen_encoder(model) if frozen else contextlib.nullcontext():
            model.fit(
                **images,
                initial_epoch=epoch,
                epochs=epoch + 1 if done else end,
                steps_per_epoch=per_epoch - done,
                callbacks=callbacks,
                verbose=0,
                settle=False,  # `finish` does, in a resumed run as well
            )


def _say_how_to_go_on(received, model, folder, data_dir):
    where = ["--run-dir", str(folder.path), *(["--data-dir", data_dir] if data_dir else [])]
    text = (
        f"Stopped by {received.name}; the state at step {int(model.step.numpy())} is saved. Go on "
        f"with: python -m cueco_tf.train {shlex.join(where)} --resume"
    )
    print(as_typed(text))
