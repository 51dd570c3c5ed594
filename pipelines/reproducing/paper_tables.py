"""The paper's tables as runs: which cells they have, and how each is trained and evaluated."""

import dataclasses
import shlex
from pathlib import Path

from cueco_tf.running.run_folder import RunError, RunFolder
from cueco_tf.settings.command_line import to_arguments
from cueco_tf.settings.methods import METHODS
from cueco_tf.settings.run import RunConfig
from pipelines.reproducing import published

ALL_LOSSES = ("L1", "L2", "L3")
TABLES = {
    "table1": "linear evaluation of all methods",
    "table2": "clustering by all methods",
    "table3": "ablation of CueCo's three losses",
}
# What a scale gives to the training command; the rest are the presets. The linear protocol is that
# of `pipelines.evaluate`.
SCALES = {
    "paper": dict(encoder="resnet18", epochs=1000),
    "cpu": dict(encoder="resnet10", width=16, epochs=10, learning_rate_warmup=0.1),
    "smoke": dict(epochs=20),
}
# CueCo's queue was chosen for ten epochs; and SwAV's recipe begins with its queue when 5 % of a
# thousand epochs are over, and frees its prototypes after two, which ten epochs hardly have.
_OF_METHOD = {
    "paper": {"cueco": dict(queue_size=16384)},
    "cpu": {"swav": dict(queue_start_epochs=0.5, prototypes_start_epochs=0.5)},
    "smoke": {},
}
_DATASETS = {
    "paper": {
        "table1": ("cifar10", "cifar100", "imagenet100"),
        "table2": ("cifar10", "cifar100"),
        "table3": ("cifar100",),
    },
    "cpu": dict.fromkeys(TABLES, ("cifar100",)),
    "smoke": dict.fromkeys(TABLES, ("digits",)),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a table on one data set: what is trained, and the figures of others beside it.

    title: how the row is called, alone in its data set.
    dataset, method: names of `RunConfig`.
    losses: those of CueCo that are on.
    paper: the paper's figures in %, by the name of the score.
    others: figures published elsewhere, by the title of their column.
    """

    title: str
    dataset: str
    method: str
    losses: tuple = ALL_LOSSES
    paper: dict = dataclasses.field(default_factory=dict)
    others: dict = dataclasses.field(default_factory=dict)

    @property
    def name(self):
        """The row in names of folders."""
        whole = self.losses == ALL_LOSSES
        return self.method if whole else f"{self.method}-{'+'.join(self.losses)}"

    def options(self):
        """What the training command is told of the method."""
        chosen = {} if self.method == "cueco" else {"method": self.method}
        if self.losses == ALL_LOSSES:
            return chosen
        weights = RunConfig.for_dataset(self.dataset).settings.loss_weights
        pairs = zip(ALL_LOSSES, weights, strict=True)
        return chosen | {"loss_weights": tuple(w if t in self.losses else 0.0 for t, w in pairs)}


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


def cells(table, scale, seeds, runs, epochs=None, methods=None):
    """All cells of a table, seed by seed.

    Args:
        table: one of `TABLES`.
        scale: one of `SCALES`.
        seeds: integers.
        runs: folder of the run folders.
        epochs: integer, or None for the scale's.
        methods: names of the methods, or None for those of `rows`.

    Returns:
        A list of `Cell`.
    """
    protocol = "sgd" if scale == "paper" else "fast"
    evaluate = ("pipelines.evaluate", "--no-baselines", "--protocol", protocol)
    made = []
    for seed in seeds:
        for row in rows(table, scale, methods):
            options = {"dataset": row.dataset, **row.options(), **SCALES[scale], "seed": seed}
            options |= _OF_METHOD[scale].get(row.method, {})
            options["epochs"] = epochs or _epochs(scale, row.dataset)
            name = f"{row.dataset}-{scale}-{options['epochs']}epochs-{row.name}-seed{seed}"
            train = ("cueco_tf.train", *to_arguments(options))
            config = RunConfig.for_dataset(**options)
            made.append(Cell(row, config, RunFolder(Path(runs, name)), train, evaluate, protocol))
    return made


def _epochs(scale, dataset):
    """The scale's; published figures of ImageNet-100 are of fewer."""
    return 400 if (scale, dataset) == ("paper", "imagenet100") else SCALES[scale]["epochs"]


def rows(table, scale, methods=None):
    """The rows of a table, by data set.

    Args:
        table: one of `TABLES`.
        scale: one of `SCALES`.
        methods: names of the methods, in the order of the rows; None for the paper's rows at the
            paper's scale, and for all methods at the others. Of no meaning for table 3.

    Returns:
        A list of `Row`. At smoke scale, whose digits stand for every data set, without figures of
        others.
    """
    made = []
    for dataset in _DATASETS[scale][table]:
        if table == "table3":
            made += [_ablation(dataset, losses) for losses in published.PAPER_ABLATION]
        else:
            paper = published.PAPER_LINEAR if table == "table1" else published.PAPER_CLUSTERS
            chosen = methods or (paper if scale == "paper" else METHODS)
            make = _linear if table == "table1" else _clusters
            made += [make(dataset, method) for method in chosen]
    return made


def _linear(dataset, method):
    top1 = published.PAPER_LINEAR.get(method, {}).get(dataset)
    online, *offline = published.SOLO_LEARN.get(method, {}).get(dataset, (None,))
    others = {"solo-learn, online": online, "solo-learn, offline": offline[0] if offline else None}
    paper = {"linear_top1": top1} if top1 else {}
    return Row(METHODS[method].title, dataset, method, paper=paper, others=others)


def _clusters(dataset, method):
    found = published.PAPER_CLUSTERS.get(method, {}).get(dataset, ())
    paper = dict(zip(("nmi", "acc"), found, strict=False))
    kmeans = published.PROPOS_CLUSTERS.get(method, {}).get(dataset)
    others = {"ProPos, NMI / ACC / ARI": " / ".join(map(str, kmeans)) if kmeans else None}
    return Row(METHODS[method].title, dataset, method, paper=paper, others=others)


def _ablation(dataset, losses):
    scores = zip(
        ("linear_top1", "nmi", "acc", "ari"), published.PAPER_ABLATION[losses], strict=True
    )
    return Row("+".join(losses), dataset, "cueco", losses, dict(scores))
