"""Evaluated cells to a table: Markdown to read, CSV to go on with."""

import csv
import datetime
import io
import math
import statistics
from importlib.metadata import version

from cueco_tf.storage import write_atomically
from pipelines.command import machine
from pipelines.reproducing.paper_tables import rows

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
    texts = (_markdown(table, scale, wanted, found), _csv(scale, wanted, found))
    paths = tuple(output / f"{table}-{scale}{suffix}" for suffix in (".md", ".csv"))
    for path, text in zip(paths, texts, strict=True):
        write_atomically(path, lambda file, text=text: file.write_text(text))
    return paths


def provenance():
    """One line: when and where a table was written."""
    known = machine()
    return (
        f"Written {datetime.date.today()} on {known['cores']} cores of {known['processor']}, "
        f"TensorFlow {version('tensorflow')}, Keras {version('keras')}, "
        f"cueco_tf {version('cueco-tf')}."
    )


def _metrics(own):
    """The scores of a table: those the paper prints, and k-NN for comparison."""
    return list(dict.fromkeys([*(name for row in own for name in row.paper), "knn_top1"]))


def _mean_and_deviation(scores, metric):
    """Mean and standard deviation over seeds, in %; the deviation of one seed is None."""
    values = [100 * seed[metric] for seed in scores]
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None


def _markdown(table, scale, wanted, found):
    own = rows(table, scale)
    metrics = _metrics(own)
    beside = set() if scale == "smoke" else set(own[0].paper)
    done = sum(len(scores) for scores in found.values())
    config = wanted[0].config
    seeds = dict.fromkeys(str(cell.config.seed) for cell in wanted)
    lines = [
        f"# Table {table[-1]} of the paper at {_HONEST[scale].partition(':')[0]}",
        "",
        f"{_HONEST[scale][0].upper()}{_HONEST[scale][1:]}.",
        "",
        f"{config.encoder}, width {config.width}, {config.epochs} epochs; linear evaluation by the "
        f"{wanted[0].protocol} protocol of `pipelines.evaluate`; {done} of {len(wanted)} cells "
        f"done. Mean ± standard deviation over seeds {', '.join(seeds)}, in %.",
        "",
        provenance(),
        "",
    ]
    heads = []
    for metric in metrics:
        heads += [_TITLES[metric], *(["paper"] if metric in beside else [])]
    lines += [f"| | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for row in own:
        line = [row.title]
        for metric in metrics:
            line.append(_form(found.get(row.title), metric))
            if metric in beside:
                line.append(f"{row.paper[metric]}")
        lines.append(f"| {' | '.join(line)} |")
    if table == "table3" and own[0].title in found:
        lines += ["", "## What the added losses change", ""]
        lines += [_difference(found, own[0], row, metrics) for row in own[1:]]
    lines += ["", "## Commands", ""]
    lines += [f"    {command}" for cell in wanted for command in cell.commands()]
    return "\n".join(lines) + "\n"


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
        text = f"{_TITLES[metric]} {round(mean - base, 1) + 0.0:+.1f}"  # never -0.0
        if deviation is None or base_deviation is None:
            text += " (one seed: its deviation is unknown)"
        elif abs(mean - base) <= math.hypot(deviation, base_deviation):
            text += " (within the seeds' deviation)"
        parts.append(text)
    return f"- {row.title} against {first.title}: {', '.join(parts)}."


def _csv(scale, wanted, found):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "losses", "score", "mean", "deviation", "seeds", "paper", "commands"])
    titles = dict.fromkeys(cell.row.title for cell in wanted)
    by_title = {title: [cell for cell in wanted if cell.row.title == title] for title in titles}
    metrics = _metrics([cell.row for cell in wanted])
    for title, own in by_title.items():
        commands = "; ".join(command for cell in own for command in cell.commands())
        for metric in metrics:
            scores, mean, deviation = found.get(title, []), "", None
            if scores:
                mean, deviation = _mean_and_deviation(scores, metric)
                mean = f"{mean:.2f}"
            deviation = "" if deviation is None else f"{deviation:.2f}"
            paper = "" if scale == "smoke" else own[0].row.paper.get(metric, "")
            row = [title, "+".join(own[0].row.losses), metric, mean, deviation, len(scores)]
            writer.writerow([*row, paper, commands])
    return text.getvalue()
