"""Trains a method from the command line: `python -m cueco_tf.train --dataset cifar100`."""

import contextlib
import dataclasses
import json
import os
import shlex
import sys
import threading
import typing
from pathlib import Path

from cueco_tf.data.copies import AUTO, check_cache
from cueco_tf.data.presence import MissingError, check_there
from cueco_tf.data.stores import CacheError
from cueco_tf.distributed.environment import ClusterError, find_cluster
from cueco_tf.distributed.supervisor import exit_with_supervisor, is_supervised, supervise
from cueco_tf.evaluation.table import score_table
from cueco_tf.ownership import InUseError
from cueco_tf.process import NOT_FINITE, command, fail, import_tensorflow, suggest, twin
from cueco_tf.running.checkpoints import CheckpointError, find
from cueco_tf.running.loggers import check_loggers
from cueco_tf.running.run_folder import RunError, RunFolder
from cueco_tf.running.starting import check_sources
from cueco_tf.settings.choices import folder_name, is_path
from cueco_tf.settings.command_line import parse
from cueco_tf.settings.config_file import from_dict, to_dict
from cueco_tf.settings.fields import ConfigError
from cueco_tf.settings.run import RunConfig

_REFUSALS = (ConfigError, RunError, InUseError, MissingError, CacheError)


@dataclasses.dataclass
class _Request:
    """What a command line asks for: the `given` options of the configuration by name, where and how
    to train, and how it is told to stop and tells that it does."""

    given: dict
    folder: RunFolder
    data_dir: str | None
    distribute: str
    cache: str
    resume: bool
    log: list
    stop: threading.Event | None = None
    leave: typing.Callable = lambda: None


@command
def main(argv=None, stop=None):
    """Runs the command line and returns the exit code.

    Args:
        argv: list of strings, or None for the process's own.
        stop: `threading.Event` that a program sets to have training saved and stopped, as SIGTERM
            does; None where signals do. They reach the main thread alone.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    with contextlib.ExitStack() as held:
        try:
            request = _read(arguments, stop)
            cluster = find_cluster(request.distribute)
            if cluster is not None and not is_supervised():
                return supervise(arguments, cluster)
            # Among several workers the chief does this, once all are there to hear of it.
            config = _begin(request, held) if cluster is None else None
        except (*_REFUSALS, ClusterError, OSError) as error:
            return fail(error)
        if cluster is None and config is None:
            return _finished(request.folder)
        return _train(request, config, cluster, held)


@twin
def pretrain(
    dataset=None,
    *,
    run_dir=None,
    resume=False,
    data_dir=None,
    distribute="auto",
    cache=AUTO,
    stop=None,
    log=("tensorboard",),
    **options,
):
    """Trains a run, as the command does, from any thread.

    Args:
        dataset: as `--dataset`, or the path of a folder; None to go on with the run in `run_dir`.
        run_dir: path of the run folder. Defaults to runs/ and the name of the data set.
        resume: whether to go on with a run that is there. Defaults to False.
        data_dir: where TensorFlow Datasets keeps its sets, or None for its own place.
        distribute: `"auto"`, `"none"` or `"mirrored"`; several machines are the command's.
        cache: as `--cache`. Defaults to `"auto"`.
        stop: as in `main`.
        log: who hears of each epoch: some of `"tensorboard"`, `"wandb"`, `"mlflow"`.
        **options: those of the command by name, such as `method`, `encoder` or `epochs`.

    Returns:
        `running.loading.Run`: finished, or as far as it came where it was told to stop.

    Raises:
        TypeError: for an option that there is not.
        ConfigError, RunError, DataError, CacheError, CheckpointError, OSError: for what the user
            has to mend.
        FloatingPointError: when the loss is no longer finite.
    """
    if dataset is not None:
        options["dataset"] = dataset
    options |= {name: os.fspath(v) for name, v in options.items() if isinstance(v, os.PathLike)}
    data_dir = None if data_dir is None else os.fspath(data_dir)
    if find_cluster(distribute) is not None:
        raise RunError("Several machines train by the command: python -m cueco_tf.train")
    request = _requested(options, run_dir, data_dir, distribute, cache, resume, log, stop)
    with contextlib.ExitStack() as held:
        config = _begin(request, held)
        if config is not None:
            _join_and_train(request, config, None, held)
    from cueco_tf.running.loading import load_run

    return load_run(request.folder.path)


def _read(arguments, stop):
    options = parse(arguments)
    names = ("run_dir", "data_dir", "distribute", "cache", "resume", "log")
    how = [options.pop(name) for name in names]
    return _requested(options, *how, stop)


def _requested(options, run_dir, data_dir, distribute, cache, resume, log, stop):
    given = {name: value for name, value in options.items() if value is not None}
    if "dataset" not in given and not run_dir:
        raise RunError("--dataset is required. Try: --dataset digits")
    folder = RunFolder(Path(run_dir or Path("runs", folder_name(given["dataset"]))))
    log = [log] if isinstance(log, str) else list(log)
    check_loggers(log)
    return _Request(given, folder, data_dir, distribute, cache, resume, log, stop)


def _train(request, config, cluster, held):
    """Trains, and returns the exit code."""
    tf = import_tensorflow()  # only after everything that is cheap has been checked

    from cueco_tf.data.decoding import in_one_line
    from cueco_tf.data.splits import DataError
    from cueco_tf.distributed.workers import Refused

    folder = request.folder
    try:
        return _join_and_train(request, config, cluster, held)
    except (*_REFUSALS, DataError, CheckpointError, Refused) as error:
        return fail(error)
    except KeyboardInterrupt:
        return fail("stopped before training began, or while scoring.", 130)
    except (OSError, FloatingPointError, tf.errors.OpError) as error:
        code = NOT_FINITE if isinstance(error, FloatingPointError) else 1
        if isinstance(error, tf.errors.OpError):
            error = in_one_line(error)
        fail(error, code)
        if find(folder.checkpoints):
            print("The last good checkpoint stands: --resume goes on from it.", file=sys.stderr)
        return code


def _join_and_train(request, config, cluster, held):
    """Trains together with whoever else does, and returns the exit code."""
    import_tensorflow()

    from cueco_tf.distributed.workers import join
    from cueco_tf.running import stopping, training

    if cluster is not None:
        exit_with_supervisor()
    workers = join(request.distribute, cluster is not None)
    if cluster is not None:
        config = _begin_together(workers, request, held)
        if config is None:
            return _finished(request.folder) if workers.is_chief else 0
    stop = stopping.StopSignal(request.stop, request.leave)
    where = request.folder, request.data_dir, request.cache
    return training.train(config, *where, request.resume, workers, stop, request.log)


def _begin(request, held):
    """What `_configure` returns. A run that is to be trained is owned until `held` is closed."""
    config = _configure(request)
    if config is None:
        return None
    check_there(config.dataset, request.data_dir)
    if config.eval_dataset is not None:
        check_there(config.eval_dataset, request.data_dir)
    check_cache(request.cache)
    try:
        request.leave = held.enter_context(request.folder.own()).leave
    except OSError as error:
        raise RunError(
            f"{request.folder.path} cannot be made or written: {error.strerror}. Choose another "
            f"--run-dir."
        ) from error
    return _configure(request)  # whoever owned it before may have changed it


def _configure(request):
    """The configuration to train, or None when the run is finished already."""
    folder, given = request.folder, request.given
    if not is_path(str(folder.path)):
        raise RunError(f"--run-dir should be a path in UTF-8. Received: {str(folder.path)!r}")
    if request.resume and folder.config.exists():
        saved = folder.read_config()
        wanted = saved.replace(**given)
        known = saved.train_images, wanted.image_size, saved.num_classes
        wanted = wanted.resolve(*known, saved.channels, saved.depth)
        folder.check_same(saved, wanted)
        return None if folder.summary.exists() else saved
    if "dataset" not in given:
        raise RunError(f"{folder.path} holds no run to go on with. Name a --dataset to start one.")
    config = RunConfig.for_dataset(**given)
    check_sources(config)
    folder.check_unused()
    return config


def _begin_together(workers, request, held):
    """What `_begin` returned to the chief, who owns the run."""

    def begin():
        return _begin(request, held) if workers.is_chief else None

    config = workers.agree(begin, *_REFUSALS, OSError)
    fields = None if config is None else to_dict(config)
    fields = json.loads(workers.share(json.dumps(fields).encode()))
    return None if fields is None else from_dict(fields)


def _finished(folder):
    print(f"The run in {folder.path} is finished.\n\n{score_table(folder.read_summary())}")
    suggest(f"python -m pipelines.report {shlex.quote(str(folder.path))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
