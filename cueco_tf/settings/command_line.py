"""The options of `python -m cueco_tf.train` and what its `--help` teaches."""

import argparse
import collections
import dataclasses

from cueco_tf.settings.choices import DISTRIBUTIONS, LOGGERS
from cueco_tf.settings.fields import kind_of, options_of
from cueco_tf.settings.methods import METHODS, class_of
from cueco_tf.settings.parser import Parser
from cueco_tf.settings.presets import PRESETS
from cueco_tf.settings.run import RunConfig

_DESCRIPTION = """\
Trains CueCo, or another --method, on images without labels and leaves a run folder with a working
encoder.

  python -m cueco_tf.train --dataset digits              two or three minutes, no download
  python -m cueco_tf.train --dataset cifar100            ResNet-18; a GPU helps
  python -m cueco_tf.train --dataset cifar100 --encoder resnet10 --width 16 --epochs 10
                                                         a quarter of an hour on two CPU cores
  python -m cueco_tf.train --dataset folder:PHOTOS       your own images, labelled or not
  python -m cueco_tf.train --dataset folder:PHOTOS --image-size 224 --freeze-epochs 5 \\
      --encoder keras:MobileNetV3Small --weights imagenet
                                                         from known weights, the head first
  python -m cueco_tf.train --run-dir runs/digits --resume
                                                         goes on where a run was stopped

Options left out take the data set's preset, which their defaults name where it differs. Labels,
where there are any, are used only to report: for the k-NN monitor, the online probe (which gives no
gradient to the encoder) and the final scores.
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

_GROUPS = ("data", "views", "network", "training", "several devices", "method")
_METAVARS = {str: "NAME", int: "N", float: "X"}


def parse(arguments):
    """The options of a command line, by name; those that were not given are None.

    Which there are depends on `--method`, which is read first.

    Args:
        arguments: list of strings.

    Raises:
        ConfigError: where there is no such method.
        SystemExit: as `argparse` does, for what it does not understand and after `--help`.
    """
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("--method", nargs="?", default=RunConfig.method)
    method = first.parse_known_args(arguments)[0].method or RunConfig.method
    parser = build_parser(method)
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{_of_others(method, unknown)}")
    return vars(options)


def _of_others(method, arguments):
    """Which of the arguments are options of other methods, in words."""
    owners = collections.defaultdict(list)
    for name, kind in METHODS.items():
        for field in options_of(kind):
            option = field.name.replace("_", "-")
            owners["--" + option].append(name)
            if kind_of(field)[0] is bool:
                owners["--no-" + option].append(name)
    options = [argument.partition("=")[0] for argument in arguments]
    return "".join(
        f". {option} is an option of {', '.join(owners[option])}, not of {method}"
        for option in options
        if option in owners
    )


def build_parser(method=RunConfig.method):
    """The command line of a method; options that were not given are None.

    Raises:
        ConfigError: where there is no such method.
    """
    kind = class_of(method)
    parser = Parser("cueco_tf.train", description=_DESCRIPTION, epilog=_EPILOG)
    groups = {title: parser.add_argument_group(title) for title in _GROUPS}
    for owner in (RunConfig, kind):
        for field in options_of(owner):
            _add_option(groups[field.metadata["group"] or "method"], field, kind)
    _add_places(parser, groups)
    return parser


def to_arguments(options):
    """The arguments that `parse` reads these options from.

    Args:
        options: mapping of values by name; None stands for an option that is not given.
    """
    arguments = []
    for name, value in options.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            arguments.append(f"--{option}" if value else f"--no-{option}")
        elif value is not None:
            several = value if isinstance(value, (list, tuple)) else [value]
            arguments += [f"--{option}", *map(_typed, several)]
    return tuple(arguments)


def _typed(value):
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)


def _add_places(parser, groups):
    """The options that do not decide the result: where things are, and what computes."""
    groups["data"].add_argument(
        "--data-dir",
        metavar="DIR",
        help="where TensorFlow Datasets keeps its sets, and images of Parquet are copied to "
        "(default: $TFDS_DATA_DIR, else ~/tensorflow_datasets)",
    )
    groups["data"].add_argument(
        "--cache",
        default="auto",
        metavar="WHERE",
        help="of image files: where each one's small copy is kept, so that it is decoded once: "
        "memory; DIR, a folder on a fast disk, for any number of runs; none; or auto: memory, "
        "where a quarter of what is free holds them (default: auto)",
    )
    groups["several devices"].add_argument(
        "--distribute",
        default="auto",
        metavar="HOW",
        help=f"{', '.join(DISTRIBUTIONS)}: one device, all GPUs of this machine, or the processes "
        "that TF_CONFIG or Slurm names; auto takes what it finds (default: auto)",
    )
    run = parser.add_argument_group("run folder")
    run.add_argument("--run-dir", metavar="DIR", help="default: runs/NAME")
    run.add_argument(
        "--log",
        nargs="*",
        choices=LOGGERS,
        default=["tensorboard"],
        metavar="NAME",
        help=f"who hears of each epoch, beside metrics.csv: {', '.join(LOGGERS)}; without a name "
        "nobody (default: tensorboard, in RUN/logs)",
    )
    run.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in the folder, to the same result as if it had never stopped",
    )


def _add_option(group, field, kind):
    """Adds a setting as an option of its name, with its default and where presets differ."""
    known = field.metadata
    option, (of_type, _) = "--" + field.name.replace("_", "-"), kind_of(field)
    text = (known["help"] + _defaults(field, kind)).replace("%", "%%")
    if of_type is bool:
        group.add_argument(option, action=argparse.BooleanOptionalAction, help=text)
        return
    of_type, several = (float, known["rule"].count) if of_type is tuple else (of_type, None)
    metavar = known["metavar"] or _METAVARS[of_type]
    group.add_argument(option, type=of_type, nargs=several, metavar=metavar, help=text)


def _defaults(field, kind):
    default = field.default
    if default is dataclasses.MISSING:
        return ""
    texts = [field.metadata["unset"] if default is None else _shown(default)]
    sets = {}
    for dataset in PRESETS:
        preset = PRESETS[dataset] | kind.presets.get(dataset, {})
        if preset.get(field.name, default) != default:
            sets.setdefault(_shown(preset[field.name]), []).append(dataset)
    texts += [f"{', '.join(names)}: {value}" for value, names in sets.items()]
    return f" (default: {'; '.join(texts)})"


def _shown(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(_typed, value if isinstance(value, tuple) else [value]))
