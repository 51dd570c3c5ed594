"""The paper's tables as one command: train what is missing, evaluate, write the table."""

import argparse
import signal
import subprocess
import sys
from pathlib import Path

from cueco_tf.run_folder import RunError
from pipelines.paper_tables import SCALES, TABLES, cells
from pipelines.table_writer import write_table

_DESCRIPTION = """\
Trains the cells of one of the paper's tables, evaluates them and writes the table as Markdown and
CSV, the paper's figures beside ours.

  python -m pipelines.reproduce table3 --scale smoke          digits; minutes
  python -m pipelines.reproduce table3 --scale cpu            ResNet-10 width 16; two hours on two
                                                              CPU cores
  python -m pipelines.reproduce table1 --scale paper          ResNet-18, 1000 epochs; GPU days

  table1   linear evaluation of CueCo: CIFAR-10, CIFAR-100, ImageNet-100
  table2   clustering by CueCo: CIFAR-10, CIFAR-100
  table3   ablation of the three losses: CIFAR-100

Each cell is an ordinary run in its own folder, trained in a process of its own, once for each
seed. Stop the command whenever you like; the same command goes on where it was. Finished runs of
an earlier call are taken as they are, so two tables share their cells. A cell that fails, because
its data set is missing say, does not keep the others from being done.
"""

_EPILOG = """\
Exit codes: 0 the table is complete, 1 a cell failed, 2 a wrong value, a missing data set or
a run of another configuration, 130/143 stopped and saved.
"""


def build_parser():
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.reproduce",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--scale", choices=SCALES, required=True)
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1], metavar="N", help="default: 0 1"
    )
    parser.add_argument(
        "--epochs", type=int, metavar="N", help="default: 1000 (paper), 8 (cpu), 20 (smoke)"
    )
    parser.add_argument(
        "--runs", default="runs/reproduce", metavar="DIR", help="default: runs/reproduce"
    )
    parser.add_argument(
        "--output", default="results", metavar="DIR", help="for TABLE-SCALE.md and .csv"
    )
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help="where TensorFlow Datasets keeps its sets (default: $TFDS_DATA_DIR, else "
        "~/tensorflow_datasets)",
    )
    return parser


def main(argv=None):
    """Runs the command line and returns the exit code."""
    parser = build_parser()
    options = parser.parse_args(argv)
    if options.epochs is not None and options.epochs < 1:
        parser.error("--epochs should be at least 1")
    if len(set(options.seeds)) < len(options.seeds):
        parser.error(f"--seeds should differ from each other. Received: {options.seeds}")
    wanted = cells(options.table, options.scale, options.seeds, options.runs, options.epochs)
    where = ("--data-dir", options.data_dir) if options.data_dir else ()
    try:
        for cell in wanted:
            cell.check()
            trained = "trained" if cell.folder.summary.exists() else "to do"
            print(f"{'evaluated' if cell.scores() else trained:10} {cell.folder.path}")
        worst = 0
        for number, cell in enumerate(wanted, 1):
            print(f"\n[{number}/{len(wanted)}] {cell.folder.path}", flush=True)
            code = _do(cell, where)
            if code > 128:
                print("Stopped and saved. The same command goes on.", file=sys.stderr)
                return code
            worst = max(worst, code)
            if code == 0:
                paths = write_table(options.table, options.scale, wanted, Path(options.output))
    except (RunError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if worst:
        print("Some cells are not done: see above. The same command goes on.", file=sys.stderr)
        return worst
    print(f"\n{paths[0].read_text()}\nWritten to {paths[0]} and {paths[1]}")
    return 0


def _do(cell, where):
    """Trains and evaluates a cell, unless that is done already; returns the exit code."""
    if cell.scores():
        return 0
    code = 0
    if not cell.folder.summary.exists():
        code = _run((*cell.train, "--run-dir", str(cell.folder.path), "--resume", *where))
    return code or _run((*cell.evaluate, str(cell.folder.path), *where))


def _run(command):
    """Runs a module of this Python and returns its exit code, as a shell counts it. The first
    Ctrl-C reaches the child as well, which saves; so this process waits for it."""
    child = subprocess.Popen([sys.executable, "-m", *command])
    former = {
        signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: None),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: child.terminate()),
    }
    try:
        code = child.wait()
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main())
