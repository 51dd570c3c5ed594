"""Evaluated cells to a table: Markdown to read, CSV to go on with, a figure to look at."""

import csv
import datetime
import io
import math
import statistics
from importlib.metadata import version

from cueco_tf.storage import write_atomically
from pipelines.command import machine

_HONEST = {
    "paper": "the paper's scale",
    "cpu": "CPU scale: a small network and few epochs, not comparable with the paper's figures "
    "except in the signs of the differences. CueCo's defaults were chosen at this scale, on images "
    "held out of the training split; the other methods train by their published recipes, which "
    "were made for ten to a hundred times as many epochs",
    "smoke": "smoke scale: scikit-learn's digits in place of the paper's data set, to show that "
    "the parts work; its figures have nothing to do with the paper's",
}
_TITLES = {
    "linear_top1": "linear top-1",
    "online_top1": "online top-1",
    "knn_top1": "k-NN top-1",
    "nmi": "NMI",
    "acc": "ACC",
    "ari": "ARI",
    "z_nmi": "NMI of z",
    "z_acc": "ACC of z",
    "z_ari": "ARI of z",
}
_CLUSTERS = ("nmi", "acc", "ari", "z_nmi", "z_acc", "z_ari")
SCORES = {
    "table1": ("linear_top1", "online_top1", "knn_top1"),
    "table2": (*_CLUSTERS, "knn_top1"),
    "table3": ("linear_top1", *_CLUSTERS, "knn_top1"),
}
_PROTOCOLS = """\
- linear top-1: a classifier on the frozen encoder's h, after training, by the {protocol} protocol
  of `pipelines.evaluate`; online top-1: the probe trained beside the encoder.
- NMI, ACC, ARI: k-means on the L2-normalised h of the test images, k = number of classes, the mean
  of ten; of z: the same on the projections.
"""
_PROTOCOLS_OF_OTHERS = {
    "table1": """\
- paper: linear evaluation, ResNet-18, whose figures of the other methods are within a point of
  solo-learn's.
- solo-learn: ResNet-18, 1000 epochs, on ImageNet-100 400; online: the probe trained beside the
  encoder; offline: linear evaluation after it, where it was printed.
""",
    "table2": """\
- paper: clusters of a ResNet-18; which layer was clustered is not said.
- ProPos: https://arxiv.org/abs/2111.11821, ResNet-18, cosine k-means on the slow network's z,
  trained and scored on the images of both splits.
""",
    "table3": "- paper: ResNet-18; its first row is not the MoCo-v2 of its Table 1.\n",
}
# What each row is set against: the paper's question to the table.
_BASES = {"table1": ("MoCo-v2", "BYOL"), "table2": ("MoCo-v2", "BYOL"), "table3": ("L1",)}


def write_table(table, scale, wanted, output, diverged=()):
    """Writes `TABLE-SCALE.md`, `.csv` and `.png` of all cells that are evaluated.

    Args:
        table: one of `TABLES`.
        scale: one of `SCALES`.
        wanted: list of `Cell`.
        output: folder; made where it is missing.
        diverged: those of `wanted` whose training ended in NaN or infinity, which is said of them.

    Returns:
        The three paths.
    """
    from pipelines.reporting.style import save_png  # matplotlib takes a second to import
    from pipelines.reproducing.table_figure import draw_table

    output.mkdir(parents=True, exist_ok=True)
    found, missing = {}, []  # (data set, title of the row) -> list of the scores of its seeds
    for cell in wanted:
        if scores := cell.scores():
            found.setdefault((cell.row.dataset, cell.row.title), []).append(scores)
        else:
            missing.append(cell)
    stem, without = f"{table}-{scale}", _without(missing, diverged)
    texts = (_markdown(table, scale, wanted, found, without), _csv(table, scale, wanted, found))
    paths = tuple(output / f"{stem}{suffix}" for suffix in (".md", ".csv", ".png"))
    for path, text in zip(paths, texts, strict=False):
        write_atomically(path, lambda file, text=text: file.write_text(text))
    figure = draw_table(means_by_dataset(found), _HONEST[scale].partition(":")[0])
    write_atomically(paths[2], lambda file: save_png(figure, file))
    return paths


def provenance():
    """One line: when and where a table was written."""
    known = machine()
    return (
        f"Written {datetime.date.today()} on {known['cores']} cores of {known['processor']}, "
        f"TensorFlow {version('tensorflow')}, Keras {version('keras')}, "
        f"cueco_tf {version('cueco-tf')}."
    )


def mean_and_deviation(scores, metric):
    """Mean and standard deviation over seeds, in %.

    Args:
        scores: list of dicts of fractions, one a seed.
        metric: name of the score.

    Returns:
        Two floats; None for the deviation of one seed, and None twice where the score is missing.
    """
    values = [100 * seed[metric] for seed in scores if seed.get(metric) is not None]
    if not values:
        return None, None
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None


def means_by_dataset(found):
    """`{data set: {title: {metric: (mean, deviation)}}}` of what the figure shows."""
    made = {}
    for (dataset, title), scores in found.items():
        points = {name: mean_and_deviation(scores, name) for name in ("linear_top1", "nmi")}
        made.setdefault(dataset, {})[title] = points
    return made


def _markdown(table, scale, wanted, found, without):
    done = sum(len(scores) for scores in found.values())
    config = wanted[0].config
    epochs = " or ".join(dict.fromkeys(str(cell.config.epochs) for cell in wanted))
    seeds = ", ".join(dict.fromkeys(str(cell.config.seed) for cell in wanted))
    beside = "" if scale == "smoke" else ", figures of others as they were printed"
    lines = [
        f"# Table {table[-1]} of the paper at {_HONEST[scale].partition(':')[0]}",
        "",
        f"{_HONEST[scale][0].upper()}{_HONEST[scale][1:]}.",
        "",
        f"{config.network}, {epochs} epochs; {done} of {len(wanted)} cells done{without}. "
        f"Mean ± standard deviation over seeds {seeds}, in %{beside}.",
        "",
        provenance(),
    ]
    for dataset in dict.fromkeys(cell.row.dataset for cell in wanted):
        own = [cell.row for cell in wanted if cell.row.dataset == dataset]
        lines += ["", f"## {dataset}", ""]
        lines += _rows(list({row.title: row for row in own}.values()), table, found)
    lines += ["", f"![Accuracy against NMI]({table}-{scale}.png)", "", "## Protocols", ""]
    lines += [_PROTOCOLS.format(protocol=wanted[0].protocol).rstrip()]
    lines += [] if scale == "smoke" else [_PROTOCOLS_OF_OTHERS[table].rstrip()]
    if differences := _differences(table, wanted, found):
        lines += ["", "## Differences", "", *differences]
    lines += ["", "## Commands", ""]
    lines += [f"    {command}" for cell in wanted for command in cell.commands()]
    return "\n".join(lines) + "\n"


def _without(missing, diverged):
    """Which cells are not done, in parentheses, or nothing."""
    told = [
        f"{cell.row.title}, seed {cell.config.seed}"
        + (", which ended in NaN or infinity" if cell in diverged else "")
        for cell in missing
    ]
    return f" (not: {'; '.join(told)})" if told else ""


def _rows(own, table, found):
    """A data set's table: our scores, the paper's, and those of others."""
    paper = [name for name in SCORES[table] if any(name in row.paper for row in own)]
    others = [t for t in own[0].others if any(row.others.get(t) is not None for row in own)]
    heads = [_TITLES[name] for name in SCORES[table]]
    heads += [f"paper, {_TITLES[name]}" for name in paper] + others
    lines = [f"| | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for row in own:
        cells = [_form(found.get((row.dataset, row.title), []), name) for name in SCORES[table]]
        cells += [_or_dash(row.paper.get(name)) for name in paper]
        cells += [_or_dash(row.others.get(title)) for title in others]
        lines.append(f"| {row.title} | {' | '.join(cells)} |")
    return lines


def _or_dash(value):
    return "-" if value is None else str(value)


def _form(scores, metric):
    mean, deviation = mean_and_deviation(scores, metric)
    if mean is None:
        return "-"
    return f"{mean:.1f}" if deviation is None else f"{mean:.1f} ± {deviation:.1f}"


def _differences(table, wanted, found):
    """A line for each row that the paper's question sets against another."""
    lines = []
    for dataset in dict.fromkeys(cell.row.dataset for cell in wanted):
        titles = dict.fromkeys(c.row.title for c in wanted if c.row.dataset == dataset)
        for base in _BASES[table]:
            against = titles if table == "table3" else ("CueCo",)
            pairs = [(title, base) for title in against if title != base]
            lines += [
                _difference(table, found, dataset, *pair)
                for pair in pairs
                if all((dataset, title) in found for title in pair)
            ]
    return lines


def _difference(table, found, dataset, title, base):
    """One line: how a row differs from another, and what of it is beyond the seeds' deviation."""
    parts = []
    for metric in SCORES[table]:
        (mean, deviation), (other, other_deviation) = (
            mean_and_deviation(found[dataset, name], metric) for name in (title, base)
        )
        if mean is None or other is None:
            continue
        text = f"{_TITLES[metric]} {round(mean - other, 1) + 0.0:+.1f}"  # never -0.0
        if deviation is None or other_deviation is None:
            text += " (one seed: its deviation is unknown)"
        elif abs(mean - other) <= math.hypot(deviation, other_deviation):
            text += " (within the seeds' deviation)"
        parts.append(text)
    return f"- {dataset}, {title} against {base}: {', '.join(parts)}."


def _csv(table, scale, wanted, found):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heads = ["dataset", "row", "method", "losses", "score", "mean", "deviation", "seeds", "paper"]
    writer.writerow([*heads, "commands"])
    for row in {(cell.row.dataset, cell.row.title): cell.row for cell in wanted}.values():
        commands = "; ".join(
            command for cell in wanted if cell.row == row for command in cell.commands()
        )
        scores = found.get((row.dataset, row.title), [])
        for metric in SCORES[table]:
            numbers = ("" if v is None else f"{v:.2f}" for v in mean_and_deviation(scores, metric))
            paper = "" if scale == "smoke" else row.paper.get(metric, "")
            losses = "+".join(row.losses) if row.method == "cueco" else ""
            start = [row.dataset, row.title, row.method, losses, metric]
            writer.writerow([*start, *numbers, len(scores), paper, commands])
    return text.getvalue()
