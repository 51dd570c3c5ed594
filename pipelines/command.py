"""What the commands share: parser, options, checks, the machine."""

import argparse
import difflib
import json
import operator
import os
import platform
from pathlib import Path

from cueco_tf.export.reading import cores
from cueco_tf.settings.parser import Parser
from cueco_tf.storage import write_atomically


class UsageError(ValueError):
    """What was given on the command line cannot be used; the message says why."""


def parser_of(name, description, epilog=None):
    """The parser of `python -m pipelines.NAME`, which prints its texts as they are written.

    Args:
        name: of the command's module in `pipelines`.
        description: text before the options.
        epilog: text after them, or None.

    Returns:
        `Parser`.
    """
    return Parser(f"pipelines.{name}", description=description, epilog=epilog)


def options_of(parser, **given):
    """A command's options as a program gives them: by name, the others at their defaults.

    Args:
        parser: the command's.
        **given: values of options by name, with `_` for `-`.

    Returns:
        `argparse.Namespace`.

    Raises:
        TypeError: for a name that is no option, for an option that is needed and not given, and
            for two of which only one can be.
        ValueError: for a value that an option cannot have.
    """
    actions = {each.dest: each for each in parser._actions if each.dest != "help"}
    for name in given:
        if name not in actions:
            near = difflib.get_close_matches(name, actions, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise TypeError(f"There is no option {name!r}.{hint} There are: {', '.join(actions)}.")
    options = {name: each.default for name, each in actions.items()}
    options |= {name: _value(actions[name], value) for name, value in given.items()}
    for name, each in actions.items():
        if each.required and options[name] is None:
            raise TypeError(f"`{name}` is needed.")
    for group in parser._mutually_exclusive_groups:
        names = [each.dest for each in group._group_actions]
        count = sum(options[name] is not None for name in names)
        if count > 1 or (group.required and not count):
            least = "One" if group.required else "At most one"
            raise TypeError(f"{least} of {', '.join(names)} should be given. Received: {count}")
    return argparse.Namespace(**options)


_READ = {
    int: ("a whole number", operator.index),
    float: ("a number", float),
    Path: ("a path", Path),
}


def _value(action, value):
    """A value as `argparse` would have read it; True stands for an option without its value."""
    if value is None or (value is True and action.const is not None):
        return action.const if value else None
    if action.nargs == "+" and not isinstance(value, list | tuple):
        value = [value]
    if action.type is not None:
        kind, read = _READ[action.type]
        try:
            value = [*map(read, value)] if isinstance(value, list | tuple) else read(value)
        except (TypeError, ValueError):
            raise ValueError(f"`{action.dest}` should be {kind}. Received: {value!r}") from None
    elif isinstance(value, os.PathLike):
        value = os.fspath(value)
    values = value if isinstance(value, list | tuple) else [value]
    if action.choices is not None and not all(each in action.choices for each in values):
        choices = ", ".join(map(str, action.choices))
        raise ValueError(f"`{action.dest}` should be one of {choices}. Received: {value!r}")
    return value


def add_data_dir(parser):
    """Adds `--data-dir DIR`, which is None unless it is given."""
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help="where TensorFlow Datasets keeps its sets, and images of Parquet are copied to "
        "(default: $TFDS_DATA_DIR, else ~/tensorflow_datasets)",
    )


def check_parent(option, path):
    """Raises UsageError when the folder that `path`, the value of an option, is to lie in is not
    there."""
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent} for {option}.")


def check_folder(path, overwrite, kind, mark):
    """Raises UsageError when no folder of results can be written to `path`, the value of --output.

    Args:
        path: of the folder.
        overwrite: whether an old one may be replaced.
        kind: what it holds, in words.
        mark: the name of a file that every such folder has.
    """
    check_parent("--output", path)
    if not path.exists():
        return
    if not (path / mark).is_file():
        raise UsageError(f"{path} exists, and is no folder of {kind}. Choose another --output.")
    if not overwrite:
        raise UsageError(f"{path} exists. Choose another --output, or add --overwrite.")


def check_seed(seed):
    """Raises UsageError for a `--seed` that scikit-learn would not take."""
    if not 0 <= seed < 2**32:
        raise UsageError(f"--seed should be in [0, 2**32 - 1]. Received: {seed}")


def beside(source, suffix):
    """The path of what is made of `source`, a path, unless it is told: `photos.npz` and `-clusters`
    give `photos-clusters`."""
    named = source if source.name not in ("", "..") else source.resolve()
    return named.with_name(f"{named.stem}{suffix}")


def check_file(option, path):
    """Raises UsageError when no file can be written to `path`, the value of an option."""
    check_parent(option, path)
    if path.is_dir():
        raise UsageError(f"{option} should name a file. Received the folder {path}.")


def reason(error):
    """Why it failed, in a line: of an OSError what the system says, without number and file; else
    the first line of the message, or the exception's kind where it has none."""
    text = getattr(error, "strerror", None) or str(error).strip() or repr(error)
    return text.splitlines()[0]


def machine():
    """What this runs on: a dict of `processor`, its name, and `cores`, those it may use."""
    names = Path("/proc/cpuinfo")
    lines = names.read_text().splitlines() if names.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = models[0] if models else platform.processor() or platform.machine()
    return {"processor": processor, "cores": cores()}


def write_json(path, value):
    """Writes a value as JSON that people can read, whole or not at all."""
    text = json.dumps(value, indent=2) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text))
