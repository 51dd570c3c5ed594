"""A configuration as JSON: `config.json` of a run folder, and what workers send each other."""

import dataclasses
import json
import reprlib
from pathlib import Path

from cueco_tf.settings.fields import settings_of
from cueco_tf.settings.methods import class_of
from cueco_tf.settings.run import RunConfig

FORMAT = 2
_UNSAID = {"channels": 3, "depth": 8}  # of resolved runs that were written without these settings


def to_dict(config):
    """A `RunConfig` as a dict of what JSON knows, the method's settings nested in it."""
    return {"format": FORMAT, **dataclasses.asdict(config)}


def from_dict(fields):
    """The `RunConfig` of which `to_dict` made a dict.

    Raises:
        ValueError: for a dict of another format, fields that this version does not know, or values
            of a wrong type or out of range.
    """
    fields = dict(fields)
    if "format" not in fields:
        raise ValueError(
            "It has no format, as what cueco_tf 0.1 wrote: read it with version 0.1.0 of cueco_tf."
        )
    found = fields.pop("format")
    if found != FORMAT:
        raise ValueError(
            f"It is of format {reprlib.repr(found)}, and this version of cueco_tf reads format "
            f"{FORMAT}: read it with the version that wrote it."
        )
    unknown = set(fields) - {field.name for field in dataclasses.fields(RunConfig)}
    settings = fields.get("settings")
    if isinstance(settings, dict):
        kind = class_of(fields.get("method", RunConfig.method))
        unknown |= set(settings) - {field.name for field in settings_of(kind)}
    if unknown:
        raise ValueError(f"It holds unknown fields: {', '.join(sorted(unknown))}.")
    if "dataset" not in fields:
        raise ValueError("It says nothing of dataset.")
    return RunConfig(**fields)


def save(config, path):
    """Writes a `RunConfig` as JSON."""
    Path(path).write_text(json.dumps(to_dict(config), indent=2) + "\n")


def load(path):
    """Reads the resolved configuration of a run, written by `save`.

    Returns:
        `RunConfig`.

    Raises:
        ValueError: for what is no JSON object, fields that are missing or there twice, and as
            `from_dict`.
    """
    try:
        fields = json.loads(Path(path).read_text("utf-8"), object_pairs_hook=_each_once)
    except RecursionError:
        fields = None
    if not isinstance(fields, dict):
        raise ValueError("It should hold one JSON object.")
    config = from_dict(_UNSAID | fields)
    for field in (*settings_of(config), *settings_of(config.settings)):
        if field.metadata.get("resolved") and config.flat()[field.name] is None:
            raise ValueError(f"It says nothing of {field.name}.")
    return config


def _each_once(pairs):
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"It holds {', '.join(twice)} more than once.")
    return dict(pairs)
