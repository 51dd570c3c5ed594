"""What was watched in training, as lines over the epochs."""

import itertools

import numpy as np
from matplotlib.ticker import MaxNLocator

from pipelines.reporting.style import COLOURS, FEW, new_axes

_TERM_COLOURS = ("blue", "orange", "green", "purple")


def draw(metrics, terms):
    """One figure for each thing that was watched in training, where anything was.

    Args:
        metrics: list of dicts, the rows of the run's metrics.
        terms: names of the losses, each a column of the metrics.

    Returns:
        A dict from file name to `Figure`.
    """
    if not metrics:
        return {}

    def column(name, scale=1, zero=True):
        values = np.array([np.nan if row.get(name) is None else row[name] for row in metrics])
        return scale * (values if zero else np.where(values == 0, np.nan, values))

    # What has not begun yet is written as zero, and all of the clusters begins together.
    started = np.where(np.isfinite(column("usage_entropy", zero=False)), 1, np.nan)
    epochs = column("epoch")
    accuracy = [
        ("k-NN", "blue", column("knn_top1", 100)),
        ("online probe", "orange", column("online_top1", 100)),
    ]
    entropy = [("", "blue", column("usage_entropy", zero=False))]
    counts = [
        ("dead", "orange", started * column("dead_clusters")),
        ("re-seeded", "blue", started * column("reseeded_clusters")),
    ]
    rate = [("", "blue", column("learning_rate"))]
    momentum = [("", "blue", column("key_momentum"))]
    rank = [("", "blue", column("effective_rank"))]
    silhouettes = [("", "blue", column("silhouette"))]
    losses = _losses(column, terms)
    figures = {
        "losses": _lines("Losses", "mean of the epoch", epochs, losses, bottom=0),
        "accuracy": _lines("Accuracy while training", "top-1, %", epochs, accuracy, bottom=0),
        "effective_rank": _lines("Effective rank", "directions in use", epochs, rank, bottom=0),
        "silhouette": _lines("Silhouette of k-means", "1 = set apart", epochs, silhouettes),
        "usage_entropy": _lines("Usage entropy", "1 = all used alike", epochs, entropy),
        "dead_clusters": _lines("Dead and re-seeded clusters", "clusters", epochs, counts, 0, 1),
        "learning_rate": _lines("Learning rate", "at the end of the epoch", epochs, rate, 0),
        "key_momentum": _lines("Key momentum", "at the end of the epoch", epochs, momentum),
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


def _losses(column, terms):
    """The line of each term, and that of the total where it is not one of them."""
    names = [name.replace("_", " ") for name in terms]
    values = [column(name, zero=False) for name in terms]
    lines = list(zip(names, itertools.cycle(_TERM_COLOURS), values, strict=False))
    total = column("loss")
    if not any(np.array_equal(total, each) for each in values):
        lines.append(("total", "ink", total))
    return lines


def _lines(title, ylabel, epochs, lines, bottom=None, least_top=None):
    """Lines over the epochs, each named at its end; None where no value is known."""
    lines = [line for line in lines if np.isfinite(line[2]).any()]
    if not lines:
        return None
    figure, axes = new_axes(title, "epoch", ylabel)
    axes.margins(y=0.12)
    ends = []
    for name, colour, values in lines:
        known = np.isfinite(values)
        marker = "o" if known.sum() <= FEW else None
        colour = COLOURS[colour]
        axes.plot(epochs[known], values[known], marker=marker, ms=4, color=colour, clip_on=False)
        ends.append((values[known][-1], name, colour))
    margin = 0.04 * np.ptp(epochs) or 0.5
    axes.set_xlim(epochs[0] - margin, epochs[-1] + margin)
    axes.set_ylim(bottom=bottom)
    if least_top is not None:
        axes.set_ylim(top=max(axes.get_ylim()[1], least_top))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.ticklabel_format(useOffset=False)
    low, high = axes.get_ylim()
    last = -np.inf
    for value, name, colour in sorted(ends):
        last = max(value, last + 0.09 * (high - low))  # names must not overlap
        axes.annotate(
            name,
            (1.0, last),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            annotation_clip=False,
        )
    return figure
