"""Trains CueCo from the command line: `python -m cueco_tf.train --dataset cifar100`."""

import argparse
import dataclasses
import os
import sys
from pathlib import Path

from cueco_tf.checkpoints import CheckpointError, find
from cueco_tf.config import ConfigError, RunConfig
from cueco_tf.run_folder import RunError, RunFolder, score_table

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
Exit codes: 0 finished, 1 failed, 2 a wrong value or unusable folder, 130/143 stopped and saved.
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
    training.add_argument(
        "--precision",
        metavar="NAME",
        help="float32 (the default), mixed_bfloat16 or mixed_float16; weights, queue and clusters "
        "stay float32",
    )
    training.add_argument(
        "--jit", action="store_true", default=None, help="compile the training step with XLA"
    )
    training.add_argument("--seed", type=int, metavar="N")

    method = parser.add_argument_group("method")
    method.add_argument(
        "--clusters", type=int, metavar="L", help="default: the number of classes, else 100"
    )
    method.add_argument(
        "--queue-size", type=int, metavar="K", help="negatives; at most the number of images"
    )
    method.add_argument("--temperature", type=float, metavar="X", help="of the softmaxes, above 0")
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
    resume, data_dir = given.pop("resume"), given.pop("data_dir", None)
    dataset, run_dir = given.get("dataset"), given.pop("run_dir", None)
    if dataset is None and run_dir is None:
        parser.error("--dataset is required. Try: --dataset digits")
    folder = RunFolder(Path(run_dir or Path("runs", _slug(dataset))))
    try:
        config = _configure(folder, given, resume)
    except (ConfigError, RunError, OSError) as error:
        return _fail(error, 2)
    if config is None:
        print(f"The run in {folder.path} is finished.\n\n{score_table(folder.read_summary())}")
        return 0

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf  # only after everything that is cheap has been checked

    from cueco_tf import training
    from cueco_tf.data import DataError

    tf.get_logger().setLevel("ERROR")  # scoring three networks is no reason to warn of retracing
    try:
        return training.train(config, folder, data_dir, resume)
    except (ConfigError, RunError, DataError, CheckpointError) as error:
        return _fail(error, 2)
    except KeyboardInterrupt:
        return _fail("stopped before training began, or while scoring.", 130)
    except (OSError, FloatingPointError, tf.errors.OpError) as error:
        if find(folder.checkpoints):
            error = f"{error}\nThe last good checkpoint stands: --resume goes on from it."
        return _fail(error, 1)


def _configure(folder, given, resume):
    """The configuration to train, or None when the run is finished already."""
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


def _slug(dataset):
    """A folder name for a data set: `folder:a/b` gives `a-b`."""
    name = dataset.removeprefix("folder:").removeprefix("tfds:")
    return "".join(c if c.isalnum() else "-" for c in name).strip("-") or "run"


def _fail(error, code):
    print(f"error: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
