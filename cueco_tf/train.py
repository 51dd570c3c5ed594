"""Trains a method from the command line: `python -m cueco_tf.train --dataset cifar100`."""

import dataclasses
import json
import os
import sys
from pathlib import Path

from cueco_tf.distributed.environment import ClusterError, find_cluster
from cueco_tf.distributed.supervisor import exit_with_supervisor, is_supervised, supervise
from cueco_tf.evaluation.table import score_table
from cueco_tf.running.checkpoints import CheckpointError, find
from cueco_tf.running.run_folder import RunError, RunFolder
from cueco_tf.settings.command_line import parse
from cueco_tf.settings.config_file import from_dict, to_dict
from cueco_tf.settings.fields import ConfigError
from cueco_tf.settings.run import RunConfig


@dataclasses.dataclass(frozen=True)
class _Request:
    """What a command line asks for: the `given` options of the configuration by name, and where
    and how to train."""

    given: dict
    folder: RunFolder
    data_dir: str | None
    distribute: str
    resume: bool


def main(argv=None):
    """Runs the command line and returns the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if hasattr(sys.stdout, "reconfigure"):  # file names need not be valid text
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        request = _read(arguments)
        cluster = find_cluster(request.distribute)
        if cluster is not None and not is_supervised():
            return supervise(arguments, cluster)
        # Among several workers the chief does this, once all are there to hear of it.
        config = _configure(request) if cluster is None else None
    except (ConfigError, RunError, ClusterError, OSError) as error:
        return _fail(error, 2)
    if cluster is None and config is None:
        return _finished(request.folder)
    return _train(request, config, cluster)


def _read(arguments):
    options = parse(arguments)
    names = ("resume", "data_dir", "distribute", "run_dir")
    resume, data_dir, distribute, run_dir = (options.pop(name) for name in names)
    given = {name: value for name, value in options.items() if value is not None}
    if "dataset" not in given and not run_dir:
        raise RunError("--dataset is required. Try: --dataset digits")
    folder = RunFolder(Path(run_dir or Path("runs", _slug(given["dataset"]))))
    return _Request(given, folder, data_dir, distribute, resume)


def _train(request, config, cluster):
    """Trains, and returns the exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import tensorflow as tf  # only after everything that is cheap has been checked

    from cueco_tf.data.decoding import in_one_line
    from cueco_tf.data.splits import DataError
    from cueco_tf.distributed.workers import Refused, join
    from cueco_tf.running import training

    tf.get_logger().setLevel("ERROR")  # scoring three networks is no reason to warn of retracing
    folder = request.folder
    try:
        if cluster is not None:
            exit_with_supervisor()
        workers = join(request.distribute, cluster is not None)
        if cluster is not None:
            config = _configure_together(workers, request)
            if config is None:
                return _finished(folder) if workers.is_chief else 0
        return training.train(config, folder, request.data_dir, request.resume, workers)
    except (ConfigError, RunError, DataError, CheckpointError, Refused) as error:
        return _fail(error, 2)
    except KeyboardInterrupt:
        return _fail("stopped before training began, or while scoring.", 130)
    except (OSError, FloatingPointError, tf.errors.OpError) as error:
        code = 3 if isinstance(error, FloatingPointError) else 1
        if isinstance(error, tf.errors.OpError):
            error = in_one_line(error)
        if find(folder.checkpoints):
            error = f"{error}\nThe last good checkpoint stands: --resume goes on from it."
        return _fail(error, code)


def _configure(request):
    """The configuration to train, or None when the run is finished already."""
    folder, given = request.folder, request.given
    if not _is_path(str(folder.path)):
        raise RunError(f"--run-dir should be a path in UTF-8. Received: {str(folder.path)!r}")
    if request.resume and folder.config.exists():
        saved = folder.read_config()
        wanted = saved.replace(**given)
        wanted = wanted.resolve(saved.train_images, wanted.image_size, saved.num_classes)
        folder.check_same(saved, wanted)
        return None if folder.summary.exists() else saved
    if "dataset" not in given:
        raise RunError(f"{folder.path} holds no run to go on with. Name a --dataset to start one.")
    config = RunConfig.for_dataset(**given)
    folder.check_unused()
    return config


def _is_path(text):
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def _configure_together(workers, request):
    """What `_configure` returned to the chief."""

    def configure():
        return _configure(request) if workers.is_chief else None

    config = workers.agree(configure, ConfigError, RunError, OSError)
    fields = None if config is None else to_dict(config)
    fields = json.loads(workers.share(json.dumps(fields).encode()))
    return None if fields is None else from_dict(fields)


def _finished(folder):
    print(f"The run in {folder.path} is finished.\n\n{score_table(folder.read_summary())}")
    return 0


def _slug(dataset):
    """A folder name for a data set: `folder:a/b` gives `a-b`."""
    name = dataset.removeprefix("folder:").removeprefix("tfds:")
    return "".join(c if c.isalnum() else "-" for c in name).strip("-") or "run"


def _fail(error, code):
    print(f"error: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
