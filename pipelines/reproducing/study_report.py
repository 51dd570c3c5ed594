"""What a study found: a table in Markdown and CSV, and a figure."""

import csv
import io
import math
import statistics
import textwrap

import matplotlib
from matplotlib.figure import Figure

from cueco_tf.storage import write_atomically
from pipelines.reporting.style import COLOURS, STYLE, save_png
from pipelines.reproducing.table_writer import provenance

SCORES = {
    "knn_top1": "k-NN",
    "linear_top1": "linear",
    "nmi": "NMI",
    "acc": "ACC",
    "ari": "ARI",
    "centroid_nmi": "NMI, own centroids",
}

_LEGEND_WIDTH = 150  # characters a line


def write_study(trials, stem):
    """Writes `STEM.md`, `STEM.csv` and `STEM.png` of all runs, finished or not.

    Args:
        trials: list of `Trial`.
        stem: path without suffix; its folder is made where it is missing.

    Returns:
        The three paths.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    groups = {}  # title of the variant -> its runs
    for trial in trials:
        groups.setdefault(trial.title, []).append(trial)
    paths = tuple(stem.with_suffix(suffix) for suffix in (".md", ".csv", ".png"))
    texts = (_markdown(trials, groups, stem.name), _csv(trials))
    for path, text in zip(paths, texts, strict=False):
        write_atomically(path, lambda file, text=text: file.write_text(text))
    with matplotlib.rc_context(STYLE):
        write_atomically(paths[2], lambda file: save_png(draw_study(groups), file))
    return paths


def _values(group, name):
    """The scores of a variant's finished runs, in %."""
    found = [trial.scores() for trial in group]
    return [100 * scores[name] for scores in found if scores and scores.get(name) is not None]


def _hours(trial):
    """Hours of training, from the rate of each epoch; scoring comes on top."""
    rates = [row["images_per_second"] for row in trial.folder.read_metrics(trial.config)]
    images = trial.folder.read_config().train_images if rates else 0
    return sum(images / rate for rate in rates if rate) / 3600


def _markdown(trials, groups, name):
    done = [trial for trial in trials if trial.scores()]
    config = trials[0].config
    share = config.holdout
    scored = f"a held-out {share:.0%} of the training split" if share else "the test split"
    epochs = f"{config.epochs} epochs" if config.epochs else "the epochs that suit its size"
    lines = [
        f"# Study {name}",
        "",
        f"{config.dataset}, {config.network}, {epochs}; "
        f"{len(done)} of {len(trials)} runs done, {sum(map(_hours, trials)):.1f} hours of "
        f"training. Scores on {scored}, in %; mean ± standard deviation where there are several "
        f"seeds, and in brackets the difference from the first row, seed by seed.",
        "",
        provenance(),
        "",
        f"| | seeds | {' | '.join(SCORES.values())} | hours |",
        "|---" * (len(SCORES) + 3) + "|",
    ]
    base = next(iter(groups.values()))
    for title, group in groups.items():
        cells = [_cell(group, base, score) for score in SCORES]
        count = sum(trial.scores() is not None for trial in group)
        hours = sum(map(_hours, group))
        lines.append(f"| {title} | {count} | {' | '.join(cells)} | {hours:.2f} |")
    lines += ["", f"![The runs compared]({name}.png)", "", "## Commands", ""]
    return "\n".join([*lines, *(f"    {trial.typed()}" for trial in trials)]) + "\n"


def _cell(group, base, score):
    values = _values(group, score)
    if not values:
        return "-"
    text = f"{statistics.mean(values):.1f}"
    if len(values) > 1:
        text += f" ± {statistics.stdev(values):.1f}"
    if group is not base and (differences := _differences(group, base, score)):
        text += f" ({statistics.mean(differences):+.1f})"
    return text


def _differences(group, base, score):
    """Of a score in %, from the base's run of the same seed."""
    own, others = (
        {trial.config.seed: value for trial in runs for value in _values([trial], score)}
        for runs in (group, base)
    )
    return [own[seed] - others[seed] for seed in own if seed in others]


def _csv(trials):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["variant", "seed", *SCORES, "hours", "command"])
    for trial in trials:
        scores = trial.scores() or {}
        cells = ["" if scores.get(name) is None else f"{scores[name]:.4f}" for name in SCORES]
        row = [trial.title, trial.config.seed, *cells, f"{_hours(trial):.3f}", trial.typed()]
        writer.writerow(row)
    return text.getvalue()


def draw_study(groups):
    """k-NN along training, and at the end NMI against k-NN.

    Args:
        groups: dict from a variant's title to its list of `Trial`.

    Returns:
        A matplotlib `Figure`.
    """
    titles = {title: textwrap.fill(title, _LEGEND_WIDTH) for title in groups}
    lines = sum(text.count("\n") + 1 for text in titles.values())
    figure = Figure(figsize=(11, 4.2 + 0.19 * lines))  # the legend stands below, a line a variant
    curve, end = figure.subplots(1, 2)
    curve.set(title="k-NN along training", xlabel="epoch", ylabel="k-NN top-1, %")
    end.set(title="At the end", xlabel="k-NN top-1, %", ylabel="NMI, %")
    scale = matplotlib.colormaps["viridis"]
    for number, (title, group) in enumerate(groups.items()):
        # The first row, which the others are compared with, in ink.
        share = (number - 1) / max(len(groups) - 2, 1)
        colour = COLOURS["ink"] if number == 0 else scale(0.95 * share)
        for trial in group:
            rows = trial.folder.read_metrics(trial.config)
            watched = [row for row in rows if row["knn_top1"] is not None]
            curve.plot(
                [row["epoch"] for row in watched],
                [100 * row["knn_top1"] for row in watched],
                color=colour,
                linewidth=1.5,
            )
        for knn, nmi in zip(_values(group, "knn_top1"), _values(group, "nmi"), strict=True):
            end.plot(knn, nmi, "o", color=colour)
        end.plot(math.nan, math.nan, "o", color=colour, label=titles[title])
    figure.legend(loc="outside lower left", fontsize=8, frameon=False)
    return figure
