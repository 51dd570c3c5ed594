"""The paper's tables as one command: train what is missing, evaluate, write the table."""

import argparse
import csv
import dataclasses
import datetime
import io
import json
import math
import os
import platform
import shlex
import signal
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from cueco_tf.checkpoints import write_atomically
from cueco_tf.config import PRESETS, RunConfig
from cueco_tf.run_folder import RunFolder

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
an earlier call are taken as they are, so two tables share their cells.
"""

_EPILOG = """\
Exit codes: 0 the table is complete, 1 a cell failed, 2 a wrong value or a missing data set,
130/143 stopped and saved.
"""


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a table: its title, data set, the losses that are on, and the paper's figures in
    % by the name of the score."""

    title: str
    dataset: str
    losses: tuple
    paper: dict


def _ablation(title, losses, top1, nmi, acc, ari):
    return Row(title, "cifar100", losses, dict(linear_top1=top1, nmi=nmi, acc=acc, ari=ari))


_ALL = ("L1", "L2", "L3")
# https://arxiv.org/abs/2507.12359, tables 1 to 3.
TABLES = {
    "table1": (
        Row("CIFAR-10", "cifar10", _ALL, dict(linear_top1=91.40)),
        Row("CIFAR-100", "cifar100", _ALL, dict(linear_top1=68.56)),
        Row("ImageNet-100", "imagenet100", _ALL, dict(linear_top1=78.65)),
    ),
    "table2": (
        Row("CIFAR-10", "cifar10", _ALL, dict(nmi=69.33, acc=75.06)),
        Row("CIFAR-100", "cifar100", _ALL, dict(nmi=52.37, acc=33.82)),
    ),
    "table3": (
        _ablation("L1", ("L1",), 67.9, 50.5, 31.1, 8.3),
        _ablation("L1+L2", ("L1", "L2"), 66.9, 54.6, 34.5, 14.9),
        _ablation("L1+L3", ("L1", "L3"), 68.4, 51.2, 32.3, 8.6),
        _ablation("L1+L2+L3", _ALL, 68.5, 52.3, 33.8, 11.3),
    ),
}
# What a scale gives to the training command; the rest are the defaults.
SCALES = {
    "paper": dict(encoder="resnet18", epochs=1000, queue_size=16384),
    "cpu": dict(encoder="resnet10", width=16, epochs=8),
    "smoke": dict(dataset="digits", epochs=20),
}
_HONEST = {
    "paper": "the paper's scale",
    "cpu": "CPU scale: a small network and few epochs, not comparable with the paper's figures "
    "except in the signs of the differences",
    "smoke": "smoke scale: scikit-learn's digits in place of the paper's data set, to show that "
    "the parts work; its figures have nothing to do with the paper's",
}
_TITLES = {
    "linear_top1": "linear top-1",
    "knn_top1": "k-NN top-1",
    "nmi": "NMI",
    "acc": "ACC",
    "ari": "ARI",
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a row: its folder, and the commands that train and evaluate it."""

    row: Row
    seed: int
    folder: RunFolder
    train: tuple
    evaluate: tuple

    def scores(self):
        """The scores of the evaluated run, or None."""
        file = self.folder.path / "evaluation.json"
        return json.loads(file.read_text()) if file.exists() else None


def cells(table, scale, seeds, runs, epochs=None, data_dir=None):
    """All cells of a table, seed by seed.

    Args:
        table: one of `TABLES`.
        scale: one of `SCALES`.
        seeds: integers.
        runs: folder of the run folders.
        epochs: integer, or None for the scale's.
        data_dir: where TensorFlow Datasets keeps its sets, or None.

    Returns:
        A list of `Cell`.
    """
    weights = dict(zip(_ALL, RunConfig("digits").loss_weights, strict=True))
    where = ("--data-dir", data_dir) if data_dir else ()
    made = []
    for seed in seeds:
        for row in TABLES[table]:
            options = {"dataset": row.dataset, **SCALES[scale], "seed": seed}
            options["epochs"] = epochs or options["epochs"]
            name = f"{options['dataset']}-{scale}-{options['epochs']}epochs"
            folder = RunFolder(Path(runs, f"{name}-{'+'.join(row.losses)}-seed{seed}"))
            train = ["python", "-m", "cueco_tf.train"]
            for option, value in options.items():
                train += [f"--{option.replace('_', '-')}", str(value)]
            on = (f"{weights[term] if term in row.losses else 0:g}" for term in _ALL)
            train += ["--loss-weights", *on, "--run-dir", str(folder.path), "--resume", *where]
            evaluate = ["python", "-m", "pipelines.evaluate", str(folder.path), "--no-baselines"]
            made.append(Cell(row, seed, folder, tuple(train), (*evaluate, *where)))
    return made


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
    wanted = cells(
        options.table, options.scale, options.seeds, options.runs, options.epochs, options.data_dir
    )
    for cell in wanted:
        state = "evaluated" if cell.scores() else "trained" if _trained(cell) else "to do"
        print(f"{state:10} {cell.folder.path}")
    for number, cell in enumerate(wanted, 1):
        print(f"\n[{number}/{len(wanted)}] {shlex.join(cell.train)}", flush=True)
        code = _run(cell.train)  # of a finished run it only checks the configuration
        if code == 0 and not cell.scores():
            code = _run(cell.evaluate)
        if code:
            print(f"{cell.folder.path} is not done. The same command goes on.", file=sys.stderr)
            return code
        try:
            paths = write_table(options.table, options.scale, wanted, Path(options.output))
        except OSError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    print(f"\n{paths[0].read_text()}\nWritten to {paths[0]} and {paths[1]}")
    return 0


def _trained(cell):
    return cell.folder.summary.exists()


def _run(command):
    """Runs a command of this Python and returns its exit code, as a shell counts it. The first
    Ctrl-C reaches the child as well, which saves; so this process waits for it."""
    child = subprocess.Popen([sys.executable, *command[1:]])
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


def write_table(table, scale, wanted, output):
    """Writes `TABLE-SCALE.md` and `.csv` of all cells that are evaluated.

    Args:
        table: one of `TABLES`.
        scale: one of `SCALES`.
        wanted: list of `Cell`.
        output: folder; made where it is missing.

    Returns:
        The two paths.
    """
    output.mkdir(parents=True, exist_ok=True)
    found = {}  # title of the row -> list of the scores of its seeds
    for cell in wanted:
        if scores := cell.scores():
            found.setdefault(cell.row.title, []).append(scores)
    texts = (_markdown(table, scale, wanted, found), _csv(wanted, found))
    paths = tuple(output / f"{table}-{scale}{suffix}" for suffix in (".md", ".csv"))
    for path, text in zip(paths, texts, strict=True):
        write_atomically(path, lambda file, text=text: file.write_text(text))
    return paths


def _metrics(rows):
    """The scores of a table: those the paper prints, and k-NN for comparison."""
    return list(dict.fromkeys([*(name for row in rows for name in row.paper), "knn_top1"]))


def _mean_and_deviation(scores, metric):
    """Mean and standard deviation over seeds, in %; the deviation of one seed is None."""
    values = [100 * seed[metric] for seed in scores]
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None


def _markdown(table, scale, wanted, found):
    rows = TABLES[table]
    metrics = _metrics(rows)
    done = sum(len(scores) for scores in found.values())
    example = wanted[0].train
    preset = {**PRESETS.get("digits" if scale == "smoke" else rows[0].dataset), **SCALES[scale]}
    epochs = example[example.index("--epochs") + 1]
    network = f"{preset.get('encoder', 'resnet18')} width {preset.get('width', 64)}"
    lines = [
        f"# Table {table[-1]} of the paper at {_HONEST[scale].partition(':')[0]}",
        "",
        f"{_HONEST[scale][0].upper()}{_HONEST[scale][1:]}. {network}, {epochs} epochs; "
        f"{done} of {len(wanted)} cells done. Mean ± standard deviation over seeds "
        f"{', '.join(map(str, dict.fromkeys(cell.seed for cell in wanted)))}, in %.",
        "",
        f"Written {datetime.date.today()} on {os.cpu_count()} CPU cores ({platform.machine()}), "
        f"TensorFlow {version('tensorflow')}, Keras {version('keras')}, cueco_tf "
        f"{version('cueco-tf')}.",
        "",
    ]
    heads = []
    for metric in metrics:
        heads += [_TITLES[metric], *(["paper"] if metric in rows[0].paper else [])]
    lines += [f"| | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for row in rows:
        line = [row.title]
        for metric in metrics:
            line.append(_form(found.get(row.title), metric))
            if metric in rows[0].paper:
                line.append(f"{row.paper[metric]}")
        lines.append(f"| {' | '.join(line)} |")
    if table == "table3" and rows[0].title in found:
        lines += ["", "## What the added losses change", ""]
        lines += [_difference(found, rows[0], row, metrics) for row in rows[1:]]
    lines += ["", "## Commands", ""]
    lines += [f"    {shlex.join(command)}" for cell in wanted for command in _both(cell)]
    return "\n".join(lines) + "\n"


def _both(cell):
    return cell.train, cell.evaluate


def _form(scores, metric):
    if not scores:
        return "-"
    mean, deviation = _mean_and_deviation(scores, metric)
    return f"{mean:.1f}" if deviation is None else f"{mean:.1f} ± {deviation:.1f}"


def _difference(found, first, row, metrics):
    """One line: how a row differs from the first, and what of it is beyond the seeds' deviation."""
    if row.title not in found:
        return f"- {row.title}: not done yet."
    parts = []
    for metric in metrics:
        (mean, deviation), (base, base_deviation) = (
            _mean_and_deviation(found[title], metric) for title in (row.title, first.title)
        )
        text = f"{_TITLES[metric]} {mean - base:+.1f}"
        if deviation is None or base_deviation is None:
            text += " (one seed: its deviation is unknown)"
        elif abs(mean - base) <= math.hypot(deviation, base_deviation):
            text += " (within the seeds' deviation)"
        parts.append(text)
    return f"- {row.title} against {first.title}: {', '.join(parts)}."


def _csv(wanted, found):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "losses", "score", "mean", "deviation", "seeds", "paper", "commands"])
    rows = list(dict.fromkeys(cell.row.title for cell in wanted))
    by_title = {title: [cell for cell in wanted if cell.row.title == title] for title in rows}
    metrics = _metrics([cell.row for cell in wanted])
    for title, own in by_title.items():
        commands = "; ".join(shlex.join(command) for cell in own for command in _both(cell))
        for metric in metrics:
            scores, mean, deviation = found.get(title, []), "", None
            if scores:
                mean, deviation = _mean_and_deviation(scores, metric)
                mean = f"{mean:.2f}"
            deviation = "" if deviation is None else f"{deviation:.2f}"
            paper = own[0].row.paper.get(metric, "")
            row = [title, "+".join(own[0].row.losses), metric, mean, deviation, len(scores)]
            writer.writerow([*row, paper, commands])
    return text.getvalue()


if __name__ == "__main__":
    sys.exit(main())
