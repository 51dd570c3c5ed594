"""The paper's tables as runs: which cells they have, and how each is trained and evaluated."""

import dataclasses
import shlex
from pathlib import Path

from cueco_tf.running.run_folder import RunError, RunFolder
from cueco_tf.settings.command_line import to_arguments
from cueco_tf.settings.run import RunConfig


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
# What a scale gives to the training command; the rest are the defaults. The linear protocol is that
# of `pipelines.evaluate`.
SCALES = {
    "paper": dict(encoder="resnet18", epochs=1000, queue_size=16384),
    "cpu": dict(encoder="resnet10", width=16, epochs=10),
    "smoke": dict(epochs=20),
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a row: its configuration, its folder, and the arguments of the commands that train
    and evaluate it, but for the folder and the place of the data."""

    row: Row
    config: RunConfig
    folder: RunFolder
    train: tuple
    evaluate: tuple
    protocol: str

    def scores(self):
        """The scores of the finished and evaluated run, or None."""
        try:
            scores = self.folder.read_evaluation()
        except RunError:  # a damaged file is written anew
            return None
        if scores is None or not self.folder.summary.exists():
            return None
        after = self.folder.evaluation.stat().st_mtime >= self.folder.summary.stat().st_mtime
        found = tuple(scores.get(name) for name in ("dataset", "protocol", "seed"))
        return scores if after and found == (self.config.dataset, self.protocol, 0) else None

    def check(self):
        """Raises RunError when the folder holds a run of another configuration."""
        self.folder.check_holds(self.config)

    def commands(self):
        """The two commands as a user would type them."""
        run = f"runs/{self.folder.path.name}"
        yield shlex.join(("python", "-m", *self.train, "--run-dir", run))
        yield shlex.join(("python", "-m", *self.evaluate, run))


def cells(table, scale, seeds, runs, epochs=None):
    """All cells of a table, seed by seed.

    Args:
        table: one of `TABLES`.
        scale: one of `SCALES`.
        seeds: integers.
        runs: folder of the run folders.
        epochs: integer, or None for the scale's.

    Returns:
        A list of `Cell`.
    """
    protocol = "sgd" if scale == "paper" else "fast"
    made = []
    for seed in seeds:
        for row in rows(table, scale):
            options = {"dataset": row.dataset, **SCALES[scale], "seed": seed}
            options["epochs"] = epochs or options["epochs"]
            name = f"{options['dataset']}-{scale}-{options['epochs']}epochs"
            folder = RunFolder(Path(runs, f"{name}-{'+'.join(row.losses)}-seed{seed}"))
            weights = RunConfig.for_dataset(row.dataset).settings.loss_weights
            options["loss_weights"] = tuple(
                weight if term in row.losses else 0.0
                for term, weight in zip(_ALL, weights, strict=True)
            )
            config = RunConfig.for_dataset(**options)
            train = ("cueco_tf.train", *to_arguments(options))
            evaluate = ("pipelines.evaluate", "--no-baselines", "--protocol", protocol)
            made.append(Cell(row, config, folder, train, evaluate, protocol))
    return made


def rows(table, scale):
    """The rows of a table. At smoke scale all data sets are the digits, so one row stands for those
    that differ in the data set alone, and there is nothing to set beside the paper's figures."""
    if scale != "smoke":
        return TABLES[table]
    kept = {row.losses: dataclasses.replace(row, dataset="digits") for row in TABLES[table]}
    if len(kept) == 1:
        kept = {_ALL: dataclasses.replace(kept[_ALL], title="digits")}
    return tuple(kept.values())
