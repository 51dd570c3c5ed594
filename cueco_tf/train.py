"""Trains CueCo from the command line: `python -m cueco_tf.train --dataset cifar100`."""

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path

from cueco_tf.checkpoints import CheckpointError, find
from cueco_tf.config import ConfigError, RunConfig
from cueco_tf.distribution import CHOICES, ClusterError, find_cluster
from cueco_tf.run_folder import RunError, RunFolder, score_table
from cueco_tf.supervisor import exit_with_supervisor, is_supervised, supervise

_DESCRIPTION = """\
Trains CueCo on images without labels and leaves a run folder with a working encoder.

  python -m cueco_tf.train --dataset digits              two or three minutes, no download
  python -m cueco_tf.train --dataset cifar100            ResNet-18; a GPU helps
  python -m cueco_tf.train --dataset cifar100 --encoder resnet10 --width 16 --epochs 10
                                                         a quarter of an hour on two CPU cores
  python -m cueco_tf.train --dataset folder:PHOTOS       your own images, labelled or not
  python -m cueco_tf.train --run-dir runs/digits --resume
                                                         goes on where a run was stopped

Options left out take the data set's preset. Labels, where there are any, are used only to report:
for the k-NN monitor, the online probe (which gives no gradient to the encoder) and the final
scores.
"""

_EPILOG = """\
Afterwards, in Python:

  import cueco_tf
  encoder = cueco_tf.load_encoder("runs/digits")     # images, pixels 0 to 255 -> features
  run = cueco_tf.load_run("runs/digits")             # run.model.assign(images) -> clusters

Watch a run with: tensorboard --logdir runs
Exit codes: 0 finished, 1 failed, 2 a wrong value or unusable folder, 3 the loss is no longer
finite, 130/143 stopped and saved.
"""


def build_parser():
    """The command line; options that were not given are None."""
    parser = argparse.ArgumentParser(
        prog="python -m cueco_tf.train",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    data = parser.add_argument_group("data")
    data.add_argument(
        "--dataset",
        metavar="NAME",
        help="digits, cifar10, cifar100, imagenet100, folder:PATH (images at any depth; one "
        "sub-folder a class counts as labels) or tfds:NAME (any TensorFlow Datasets image set)",
    )
    data.add_argument(
        "--data-dir",
        metavar="DIR",
        help="where TensorFlow Datasets keeps its sets (default: $TFDS_DATA_DIR, else "
        "~/tensorflow_datasets)",
    )
    data.add_argument(
        "--holdout",
        type=float,
        metavar="SHARE",
        help="keep this share of the training images out and score on them, not on the test split: "
        "for choosing options (default: 0)",
    )
    data.add_argument("--image-size", type=int, metavar="PIXELS", help="default: the native size")

    network = parser.add_argument_group("network")
    network.add_argument("--encoder", metavar="NAME", help="resnet10, resnet18, resnet34, resnet50")
    network.add_argument(
        "--width",
        type=int,
        metavar="N",
        help="channels of the first stage: 64 as published, 16 quick on a CPU",
    )

    training = parser.add_argument_group("training")
    training.add_argument("--epochs", type=int, metavar="N")
    training.add_argument("--batch-size", type=int, metavar="N")
    training.add_argument(
        "--learning-rate",
        type=float,
        metavar="X",
        help="the highest rate of SGD: a linear rise over the first tenth, then a cosine to 0",
    )
    training.add_argument(
        "--weight-decay",
        type=float,
        metavar="X",
        help="decoupled; 1e-3 acts about like PyTorch's 1e-4 at momentum 0.9",
    )
    training.add_argument("--seed", type=int, metavar="N")

    scale = parser.add_argument_group("several devices")
    scale.add_argument(
        "--distribute",
        default="auto",
        metavar="HOW",
        help=f"{', '.join(CHOICES)}: one device, all GPUs of this machine, or the processes that "
        "TF_CONFIG or Slurm names; auto takes what it finds (the default)",
    )
    scale.add_argument(
        "--sync-batchnorm",
        action="store_true",
        default=None,
        help="BatchNormalization over the images of all devices, for the result of a single one",
    )

    method = parser.add_argument_group("method")
    method.add_argument(
        "--clusters", type=int, metavar="L", help="default: the number of classes, else 100"
    )
    method.add_argument(
        "--queue-size", type=int, metavar="K", help="negatives; at most the number of images"
    )
    method.add_argument("--temperature", type=float, metavar="X", help="of the softmaxes, above 0")
    method.add_argument(
        "--centroid-temperature",
        type=float,
        metavar="X",
        help="of the centroid loss alone (default: --temperature)",
    )
    method.add_argument(
        "--centroid-momentum",
        type=float,
        metavar="X",
        help="of the centroids, in [0, 1]; near 1 they move slowly",
    )
    method.add_argument(
        "--variance-momentum", type=float, metavar="X", help="of the clusters' variances, in [0, 1]"
    )
    method.add_argument(
        "--variance-floor",
        type=float,
        metavar="X",
        help="no cluster's variance falls below it, which bounds the variance loss's pull",
    )
    method.add_argument(
        "--loss-weights",
        type=float,
        nargs=3,
        metavar=("L1", "L2", "L3"),
        help="of the contrastive, centroid and variance losses; 1 0 0 is MoCo",
    )
    method.add_argument(
        "--assign-by",
        metavar="VIEW",
        help="key: a query's cluster is that of the other view's key; query: its own nearest",
    )
    method.add_argument(
        "--warmup-epochs",
        type=float,
        metavar="N",
        help="epochs on the contrastive loss alone, before the clusters start (default: 3 in 10)",
    )
    method.add_argument(
        "--ramp-epochs",
        type=float,
        metavar="N",
        help="epochs after the warm-up over which L2 and L3 rise to their full weight (default: 0)",
    )
    method.add_argument(
        "--refresh-epochs",
        type=float,
        metavar="N",
        help="every N epochs, k-means makes the clusters anew (default: 0, never)",
    )
    method.add_argument(
        "--symmetric",
        action="store_true",
        default=None,
        help="use each view once as query and once as key: twice the work a step",
    )

    run = parser.add_argument_group("run folder")
    run.add_argument("--run-dir", metavar="DIR", help="default: runs/NAME")
    run.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in the folder, to the same result as if it had never stopped",
    )
    return parser


def main(argv=None):
    """Runs the command line and returns the exit code."""
    parser = build_parser()
    options = vars(parser.parse_args(argv))
    given = {name: value for name, value in options.items() if value is not None}
    if hasattr(sys.stdout, "reconfigure"):  # file names need not be valid text
        sys.stdout.reconfigure(errors="backslashreplace")
    resume, data_dir = given.pop("resume"), given.pop("data_dir", None)
    distribute = given.pop("distribute")
    dataset, run_dir = given.get("dataset"), given.pop("run_dir", None)
    if dataset is None and not run_dir:
        parser.error("--dataset is required. Try: --dataset digits")
    folder = RunFolder(Path(run_dir or Path("runs", _slug(dataset))))
    try:
        cluster = find_cluster(distribute)
        if cluster is not None and not is_supervised():
            return supervise(sys.argv[1:] if argv is None else argv, cluster)
        # Among several workers the chief does this, once all are there to hear of it.
        config = _configure(folder, given, resume) if cluster is None else None
    except (ConfigError, RunError, ClusterError, OSError) as error:
        return _fail(error, 2)
    if cluster is None and config is None:
        return _finished(folder)

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf  # only after everything that is cheap has been checked

    from cueco_tf import training
    from cueco_tf.data import DataError
    from cueco_tf.files import in_one_line
    from cueco_tf.workers import Refused, join

    tf.get_logger().setLevel("ERROR")  # scoring three networks is no reason to warn of retracing
    try:
        if cluster is not None:
            exit_with_supervisor()
        workers = join(distribute, cluster is not None)
        if cluster is not None:
            config = _configure_together(workers, folder, given, resume)
            if config is None:
                return _finished(folder) if workers.is_chief else 0
        return training.train(config, folder, data_dir, resume, workers)
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


def _configure(folder, given, resume):
    """The configuration to train, or None when the run is finished already."""
    if not _is_path(str(folder.path)):
        raise RunError(f"--run-dir should be a path in UTF-8. Received: {str(folder.path)!r}")
    if resume and folder.config.exists():
        saved = folder.read_config()
        wanted = dataclasses.replace(saved, **given)
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


def _configure_together(workers, folder, given, resume):
    """What `_configure` returned to the chief."""

    def configure():
        return _configure(folder, given, resume) if workers.is_chief else None

    config = workers.agree(configure, ConfigError, RunError, OSError)
    fields = None if config is None else dataclasses.asdict(config)
    fields = json.loads(workers.share(json.dumps(fields).encode()))
    return None if fields is None else RunConfig(**fields)


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
