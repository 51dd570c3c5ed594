"""A study: a grid of options as ordinary runs, compared in one table and one figure."""

import dataclasses
import itertools
import json
import shlex
from pathlib import Path

from cueco_tf.running.run_folder import RunFolder
from cueco_tf.settings.command_line import to_arguments
from cueco_tf.settings.fields import ConfigError
from cueco_tf.settings.run import RunConfig

_PARTS = {"common": dict, "seeds": list, "variants": list}


class StudyError(ValueError):
    """A grid that cannot be run; the message says why."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """One run of a study: the options in which its variant differs from the common ones, its
    configuration, its folder, and the training command but for the folder and the data's place."""

    variant: dict
    config: RunConfig
    folder: RunFolder
    command: tuple

    @property
    def title(self):
        """The variant in words."""
        return ", ".join(f"{name} {_text(value)}" for name, value in self.variant.items())

    def scores(self):
        """The final scores, or None while the run is not finished."""
        return self.folder.read_summary()

    def train(self):
        """The arguments of `python -m` that train the run, or go on with it."""
        return (*self.command, "--run-dir", str(self.folder.path), "--resume")

    def check(self):
        """Raises RunError when the folder holds a run of another configuration."""
        self.folder.check_holds(self.config)

    def typed(self):
        """The training command as a user would type it."""
        run = ("--run-dir", f"runs/{self.folder.path.name}")
        return shlex.join(("python", "-m", *self.command, *run))


def read_trials(path, runs):
    """Reads a grid and lays out its runs, seed by seed, so that a budget that ends early leaves
    whole comparisons.

    Args:
        path: JSON file of `common`, options of every run; `variants`, a list of dicts from an
            option to the list of values to try, of which every combination is taken; the first is
            what the others are compared with; and `seeds`, a list of integers.
        runs: folder of the run folders.

    Returns:
        A list of `Trial`.

    Raises:
        StudyError: for a file that is no such grid.
    """
    try:
        grid = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise StudyError(f"The grid {path} cannot be read: {error}") from error
    if not isinstance(grid, dict) or set(grid) != set(_PARTS):
        found = ", ".join(grid) if isinstance(grid, dict) else type(grid).__name__
        raise StudyError(
            f"The grid {path} should hold {', '.join(sorted(_PARTS))}. Received: {found}"
        )
    for name, kind in _PARTS.items():
        if not isinstance(grid[name], kind):
            shape = "a list" if kind is list else "an object"
            raise StudyError(f"`{name}` in {path} should be {shape}. Received: {grid[name]!r}")
    variants = [variant for options in grid["variants"] for variant in _combinations(options)]
    trials = []
    for seed, variant in itertools.product(grid["seeds"], variants):
        options = {**grid["common"], **variant, "seed": seed}
        try:
            config = RunConfig.for_dataset(**options)
        except (ConfigError, TypeError) as error:
            raise StudyError(f"The grid {path} cannot be run: {error}") from error
        words = "-".join(f"{name}={_text(value, '+')}" for name, value in variant.items())
        folder = RunFolder(Path(runs, f"{Path(path).stem}-{words}-seed{seed}"))
        trials.append(Trial(variant, config, folder, ("cueco_tf.train", *to_arguments(options))))
    if len({trial.folder.path for trial in trials}) < len(trials) or not trials:
        raise StudyError(
            f"The grid {path} should hold variants that differ, and seeds that differ."
        )
    return trials


def _combinations(options):
    if not isinstance(options, dict) or not all(isinstance(v, list) for v in options.values()):
        raise StudyError(
            f"A variant should map each option to a list of values. Received: {options!r}"
        )
    return [
        dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())
    ]


def _text(value, separator=" "):
    if isinstance(value, list):
        return separator.join(_text(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
