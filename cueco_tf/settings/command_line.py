"""The options of `python -m cueco_tf.train` and what its `--help` teaches."""

import argparse

from cueco_tf.distributed.environment import CHOICES

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
    data.add_argument(
        "--crop-scale",
        type=float,
        nargs=2,
        metavar=("LEAST", "MOST"),
        help="share of the image's area that a view shows, each drawn from this range in (0, 1]; "
        "raise the least where small parts no longer tell what the image is (default: "
        "0.2 1, digits 0.5 1)",
    )

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
        "--clusters",
        type=int,
        metavar="L",
        help="many small clusters make better features than a cluster a class (default: ten times "
        "the number of classes, 1000 where unknown; at most a quarter of the queue)",
    )
    method.add_argument(
        "--queue-size", type=int, metavar="K", help="negatives; at most the number of images"
    )
    method.add_argument("--temperature", type=float, metavar="X", help="of the contrastive loss")
    method.add_argument(
        "--centroid-temperature",
        type=float,
        metavar="X",
        help="of the centroid loss's softmax, above 0 (default: 0.05)",
    )
    method.add_argument(
        "--centroid-momentum",
        type=float,
        metavar="X",
        help="of the centroids, in [0, 1]; near 1 they move slowly and fall behind the encoder "
        "(default: 0.5)",
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
        help="epochs after the warm-up over which L2 and L3 rise to their full weight; 0: at once "
        "(default: all that are left)",
    )
    method.add_argument(
        "--refresh-steps",
        type=int,
        metavar="N",
        help="every N steps, k-means makes the clusters anew; 0 for never (default: 50)",
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
