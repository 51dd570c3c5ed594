"""The paper's tables, and studies of options, as one command: train what is missing, compare."""

import argparse
import math
import sys
import time
from pathlib import Path

from cueco_tf.ownership import InUseError, own
from cueco_tf.process import NOT_FINITE, command, fail, twin
from cueco_tf.running.run_folder import RunError
from cueco_tf.settings.fields import ConfigError
from cueco_tf.settings.methods import METHODS
from pipelines.command import options_of, parser_of
from pipelines.reproducing.child import run
from pipelines.reproducing.paper_tables import SCALES, TABLES, cells
from pipelines.reproducing.study import StudyError, read_trials
from pipelines.reproducing.table_writer import write_table
from pipelines.results.page import Table

_DESCRIPTION = """\
Trains the cells of one of the paper's tables, evaluates them and writes the table as Markdown, CSV
and a figure, the paper's figures beside ours; or trains a grid of options and compares them.

  python -m pipelines.reproduce table1 --scale smoke          digits, all methods; minutes
  python -m pipelines.reproduce table1 --scale cpu            CIFAR-100, ResNet-10 width 16, all
                                                              methods; hours on two CPU cores
  python -m pipelines.reproduce table1 --scale paper          ResNet-18, 1000 epochs; GPU days
  python -m pipelines.reproduce table2 --scale cpu --methods moco_v2 byol cueco
  python -m pipelines.reproduce study GRID.json --hours 8     see study --help

Each run is an ordinary one in its own folder, trained in a process of its own, once for each seed.
Stop the command whenever you like; the same command goes on where it was. Finished runs of an
earlier call are taken as they are, so two tables share their cells. A run that fails, because its
data set is missing say, does not keep the others from being done.
"""

_STUDY = """\
Trains every combination of a grid of options, and writes the scores as NAME.md, NAME.csv and
NAME.png, NAME being the grid's. A grid is a JSON file:

  {"common": {"dataset": "cifar100", "encoder": "resnet10", "width": 16, "epochs": 10,
              "holdout": 0.1},
   "variants": [{"loss_weights": [[1, 0, 0]]},
                {"clusters": [100, 500], "assign_by": ["key", "query"]}],
   "seeds": [0, 1]}

The options are those of python -m cueco_tf.train. Each variant maps options to lists of values to
try in every combination; the first is what the others are compared with. With holdout, scores are
of images kept out of training, so that nothing is chosen by looking at the test split.
"""

_EPILOG = """\
Exit codes: 0 done, or the hours are over; 1 a run failed; 2 a wrong value, a missing data set
or a run of another configuration; 3 a run ended in NaN or infinity; 130/143 stopped and saved.
"""


def build_parser():
    """The command line."""
    raw = dict(epilog=_EPILOG)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--runs", default="runs/reproduce", metavar="DIR", help="default: runs/reproduce"
    )
    common.add_argument(
        "--output", default="results", metavar="DIR", help="for what is written (default: results)"
    )
    common.add_argument(
        "--data-dir",
        metavar="DIR",
        help="where TensorFlow Datasets keeps its sets (default: $TFDS_DATA_DIR, else "
        "~/tensorflow_datasets)",
    )
    parser = parser_of("reproduce", _DESCRIPTION, _EPILOG)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for table, title in TABLES.items():
        one = commands.add_parser(table, help=title, description=title, parents=[common], **raw)
        _add_table_options(one, table)
    study = commands.add_parser(
        "study", help="a grid of options", description=_STUDY, parents=[common], **raw
    )
    study.add_argument("grid", metavar="GRID.json")
    study.add_argument(
        "--hours",
        type=float,
        default=math.inf,
        metavar="H",
        help="stop after so long, in the middle of a run if need be (default: when all are done)",
    )
    return parser


def _add_table_options(parser, table):
    parser.add_argument(
        "--scale",
        choices=SCALES,
        required=True,
        help="paper: ResNet-18 on the paper's data sets; cpu: CIFAR-100, ResNet-10 of width 16; "
        "smoke: digits",
    )
    if table != "table3":
        parser.add_argument(
            "--methods",
            nargs="+",
            choices=METHODS,
            metavar="NAME",
            help=f"the rows: {', '.join(METHODS)} (default: the paper's at its scale, else all)",
        )
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1], metavar="N", help="default: 0 1"
    )
    parser.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help="default: 1000, on ImageNet-100 400 (paper), 10 (cpu), 20 (smoke)",
    )


@command
def main(argv=None):
    """Runs the command line and returns the exit code."""
    parser = build_parser()
    options = parser.parse_args(argv)
    try:
        code, paths = _do(options)
    except (StudyError, ConfigError, RunError, InUseError, OSError) as error:
        return fail(error)
    if code > 128:
        print("Stopped and saved. The same command goes on.", file=sys.stderr)
    elif code:
        print("Some runs are not done: see above. The same command goes on.", file=sys.stderr)
    else:
        print(f"\n{paths[0].read_text()}\nWritten to {', '.join(map(str, paths))}")
    return code


@twin
def reproduce(table, **options):
    """Trains and evaluates the runs of a table or a study that are not yet, as the command does.

    Args:
        table: `"table1"`, `"table2"`, `"table3"` or `"study"`.
        **options: those of the command by name: `scale`, `methods`, `seeds`, `epochs`, ...; of a
            study `grid`, `hours`, ...

    Returns:
        The path of the table in Markdown, which a notebook shows; a CSV file is beside it.

    Raises:
        TypeError: for an option that there is not.
        ValueError, RunError, InUseError, OSError: for what the user has to mend.
        RuntimeError: where a run failed, or was stopped. The same call goes on.
    """
    given = options_of(build_parser().command(table), **options)
    given.command = table
    code, paths = _do(given)
    if code:
        raise RuntimeError("Some runs are not done: see above. The same call goes on.")
    return Table(paths[0])


def _do(options):
    return _study(options) if options.command == "study" else _table(options)


def _table(options):
    """Does the cells of a table; returns the exit code and the files written."""
    methods = getattr(options, "methods", None)
    if options.epochs is not None and options.epochs < 1:
        raise StudyError(f"--epochs should be at least 1. Received: {options.epochs}")
    for name, values in (("seeds", options.seeds), ("methods", methods or ())):
        if len(set(values)) < len(values):
            raise StudyError(f"--{name} should differ. Received: {' '.join(map(str, values))}")
    given = options.seeds, options.runs, options.epochs, methods
    wanted = cells(options.command, options.scale, *given)
    for cell in wanted:
        cell.check()
        trained = "trained" if cell.folder.summary.exists() else "to do"
        print(f"{'evaluated' if cell.scores() else trained:10} {cell.folder.path}")
    with own(Path(options.output, f"{options.command}-{options.scale}")):
        return _do_cells(options, wanted)


def _do_cells(options, wanted):
    where = ("--data-dir", options.data_dir) if options.data_dir else ()
    worst, paths, diverged = 0, (), []
    for number, cell in enumerate(wanted, 1):
        print(f"\n[{number}/{len(wanted)}] {cell.folder.path}", flush=True)
        code = 0
        if not cell.scores() and not cell.folder.summary.exists():
            code = run((*cell.train, "--run-dir", str(cell.folder.path), "--resume", *where))
        if not cell.scores():
            code = code or run((*cell.evaluate, str(cell.folder.path), *where))
        if code > 128:
            return code, paths
        worst = max(worst, code)
        diverged += [cell] if code == NOT_FINITE else []
        if any(cell.scores() for cell in wanted):
            given = options.command, options.scale, wanted
            paths = write_table(*given, Path(options.output), diverged)
    return worst, paths


def _study(options):
    """Does the runs of a study until the hours are over; returns the exit code and the files
    written."""
    if not options.hours > 0:
        raise StudyError(f"--hours should be positive. Received: {options.hours}")
    end = time.monotonic() + 3600 * options.hours
    trials = read_trials(options.grid, options.runs)
    for trial in trials:
        trial.check()
        print(f"{'done' if trial.scores() else 'to do':6} {trial.folder.path}")
    stem = Path(options.output, Path(options.grid).stem)
    with own(stem):
        return _do_trials(options, trials, stem, end)


def _do_trials(options, trials, stem, end):
    from pipelines.reproducing.study_report import (
        write_study,  # matplotlib takes a second to import
    )

    where = ("--data-dir", options.data_dir) if options.data_dir else ()
    worst = 0
    for number, trial in enumerate(trials, 1):
        print(f"\n[{number}/{len(trials)}] {trial.title}", flush=True)
        code = 0 if trial.scores() else run((*trial.train(), *where), end - time.monotonic())
        paths = write_study(trials, stem)
        if time.monotonic() > end:
            print(f"The {options.hours:g} hours are over. The same command goes on.")
            return 0, paths
        if code > 128:
            return code, paths
        worst = max(worst, code)
    return worst, paths


if __name__ == "__main__":
    sys.exit(main())
