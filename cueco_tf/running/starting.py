"""Where a run begins: what its settings name, checked; and `start.keras`, the encoder as it was.

A run whose encoder does not come from its settings alone keeps it, so that it can be resumed,
loaded and exported when what they name is gone, or has changed.
"""

import hashlib
import importlib.util
import zipfile
from pathlib import Path

from cueco_tf.running.run_folder import START, RunError, RunFolder
from cueco_tf.settings import encoders
from cueco_tf.settings.fields import ConfigError
from cueco_tf.storage import write_atomically


def check_sources(config):
    """Looks at the files, the run and the module that the settings of a new run name.

    Raises:
        ConfigError: for what is not there, or is no such thing.
    """
    kind, _, rest = config.encoder.partition(":")
    if kind == "file":
        _check_file("encoder", "file: and the path of", rest)
    elif kind == "python":
        _check_module(rest.partition(":")[0])
    if config.weights in (encoders.NO_WEIGHTS, encoders.IMAGENET):
        return
    if Path(config.weights).is_dir():
        _check_run(config)
    else:
        _check_file("weights", "imagenet, the folder of a finished run, none or", config.weights)


def _check_file(option, words, path):
    try:
        is_network = zipfile.is_zipfile(path)
        if is_network:
            with zipfile.ZipFile(path) as archive:
                is_network = "config.json" in archive.namelist()
        found = "no network that Keras saved" if Path(path).exists() else "no such file"
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        is_network, found = False, error
    if not is_network:
        raise ConfigError(option, f"{words} a .keras file", f"{path} ({found})")


def _check_module(name):
    top = name.partition(".")[0]  # what lies in a package is found by importing it
    if importlib.util.find_spec(top) is None:
        words = "python:MODULE:FUNCTION that can be imported (PYTHONPATH says from where)"
        raise ConfigError("encoder", words, f"python:{name} (no module {top})")


def _check_run(config):
    folder = RunFolder(Path(config.weights))
    try:
        saved = folder.read_config()
    except RunError as error:
        raise ConfigError("weights", "the folder of a finished run", f"{error}") from error
    if not folder.encoder.is_file():
        words = "the folder of a finished run: finish this one with --resume"
        raise ConfigError("weights", words, config.weights)
    own, other = ((each.encoder, each.width) for each in (config, saved))
    if own != other and not any(name.startswith(("file:", "python:")) for name, _ in (own, other)):
        words = f"a run of {encoders.in_words(*own)}"
        raise ConfigError("weights", words, f"{config.weights} ({encoders.in_words(*other)})")


def resolved(config, facts, aloud):
    """The configuration of a new run with what its data set decides.

    Args:
        config: `RunConfig`.
        facts: of the data set, `ImageSet.facts`.
        aloud: whether to print which changes of views that leaves out.
    """
    told, config = config, config.resolve(**facts)
    if aloud and (told.jitter, told.gray) != (config.jitter, config.gray):
        are = f"{config.channels} channels are" if config.channels > 1 else "One channel is"
        print(f"Views: {are} no colours, so hue, saturation and gray are left out")
    return config


def checksum(content):
    """The sha256 of a file's bytes, as `config.json` records it of `start.keras`."""
    return hashlib.sha256(content).hexdigest()


def write_start(folder, content):
    """Keeps the encoder that a new run begins with, before its `config.json` is written.

    Args:
        folder: `RunFolder`, owned, with nothing of a run in it.
        content: bytes of a `.keras` file.
    """
    folder.check_unused()
    write_atomically(folder.path / START, lambda path: path.write_bytes(content))


def read_start(folder, config):
    """The content of a run's `start.keras`, or None for a run that keeps none.

    Args:
        folder: `RunFolder`.
        config: the run's `RunConfig`.

    Raises:
        RunError: for a file that is missing, or not the one that the run began with.
    """
    if config.start is None:
        return None
    path = folder.path / START
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(
            f"{path} cannot be read: {error.strerror}. It is the encoder that the run "
            f"began with: copy the run whole."
        ) from error
    if checksum(content) != config.start:
        raise RunError(
            f"{path} is not the encoder that the run began with: config.json has another "
            f"sha256. Put the run's own file there."
        )
    return content
