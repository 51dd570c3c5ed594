"""The report's figures, in matplotlib: one set for the PNG files and, as SVG, for the page."""

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from pipelines.reporting.findings import BINS
from pipelines.reporting.style import COLOURS, STYLE

_FEW = 20  # so many epochs, or groups on a map, are marked one by one
_NAMED = 120  # so many classes have room for their names beside the matrix


def draw(findings):
    """All figures that the findings have data for: a dict from file name to `Figure`."""
    with matplotlib.rc_context(STYLE):
        return {
            **_training(findings.metrics, findings.config),
            **_similarity(findings.similarity),
            **_map(findings),
            **_clusters(findings.clusters),
            **_matrix(findings.clusters, findings.class_names),
        }


def group_colours(places):
    """A colour for each group on the map, from its place in an order of like beside like.

    Up to ten get Petroff's ten colours, made to be told apart with any colour vision. More cannot
    be told apart by anyone: they get a scale from blue to green, on which like groups look alike.
    """
    if len(places) <= 10:
        cycle = matplotlib.color_sequences["petroff10"]
        return [to_hex(cycle[i]) for i in range(len(places))]
    scale = matplotlib.colormaps["viridis"]
    return [to_hex(scale(0.2 + 0.65 * place / (len(places) - 1))) for place in places]


def _axes(title, xlabel, ylabel, size=(5.2, 3.2)):
    figure = Figure(figsize=size)
    axes = figure.subplots()
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    return figure, axes


def _training(metrics, config):
    """One figure for each thing that was watched in training, where anything was."""
    if not metrics:
        return {}

    def column(name, scale=1, positive=False):
        values = np.array([np.nan if row[name] is None else row[name] for row in metrics])
        return np.where(values > 0, scale * values, np.nan) if positive else scale * values

    # Until the first k-means there are no clusters, and what is written of them is zero.
    started = np.where(np.isfinite(column("usage_entropy", positive=True)), 1, np.nan)
    ramped = (False, config.settings.ramp_epochs != 0, config.settings.ramp_epochs != 0)
    weighted = [
        f"\N{MULTIPLICATION SIGN} {'0 to ' if rises and weight else ''}{weight:g}"
        for weight, rises in zip(config.settings.loss_weights, ramped, strict=True)
    ]
    losses = [
        (f"L1 contrastive {weighted[0]}", "blue", column("info_nce")),
        (f"L2 centroid {weighted[1]}", "orange", column("centroid_contrast", positive=True)),
        (f"L3 variance {weighted[2]}", "green", column("cluster_variance", positive=True)),
    ]
    if config.settings.loss_weights != (1, 0, 0):
        losses.append(("total", "ink", column("loss")))
    accuracy = [
        ("k-NN", "blue", column("knn_top1", 100)),
        ("online probe", "orange", column("online_top1", 100)),
    ]
    entropy = [("", "blue", column("usage_entropy", positive=True))]
    counts = [
        ("dead", "orange", started * column("dead_clusters")),
        ("re-seeded", "blue", started * column("reseeded_clusters")),
    ]
    rate = [("", "blue", column("learning_rate"))]
    momentum = [("", "blue", column("key_momentum"))]
    epochs = column("epoch")
    figures = {
        "losses": _lines("Losses", "mean of the epoch", epochs, losses, bottom=0),
        "accuracy": _lines("Accuracy while training", "top-1, %", epochs, accuracy, bottom=0),
        "usage_entropy": _lines("Usage entropy", "1 = all used alike", epochs, entropy),
        "dead_clusters": _lines("Dead and re-seeded clusters", "clusters", epochs, counts, 0, 1),
        "learning_rate": _lines("Learning rate", "at the end of the epoch", epochs, rate, 0),
        "key_momentum": _lines("Key momentum", "at the end of the epoch", epochs, momentum),
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


def _lines(title, ylabel, epochs, lines, bottom=None, least_top=None):
    """Lines over the epochs, each named at its end; None where no value is known."""
    lines = [line for line in lines if np.isfinite(line[2]).any()]
    if not lines:
        return None
    figure, axes = _axes(title, "epoch", ylabel)
    axes.margins(y=0.12)
    ends = []
    for name, colour, values in lines:
        known = np.isfinite(values)
        marker = "o" if known.sum() <= _FEW else None
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


def _similarity(similarity):
    """The paper's Figure 2: one panel a moment, one below the other, on one scale."""
    if not similarity:
        return {}
    figure = Figure(figsize=(5.2, 0.6 + 1.7 * len(similarity)))
    panels = figure.subplots(len(similarity), sharex=True, squeeze=False)[:, 0]
    middle = (BINS[1:] + BINS[:-1]) / 2
    lowest = 0.0
    for axes, (percent, found) in zip(panels, similarity.items(), strict=True):
        axes.set_title(f"{percent} % of training")
        for right, name, share, mean, colour in (
            (0.72, "between", found.between, found.mean_between, "orange"),
            (1.0, "within", found.within, found.mean_within, "blue"),
        ):
            if not np.isfinite(mean):
                continue
            colour = COLOURS[colour]
            axes.fill_between(middle, 100 * share, color=colour, alpha=0.25, linewidth=0)
            axes.plot(middle, 100 * share, color=colour, linewidth=1.5)
            axes.axvline(mean, color=colour, linewidth=1, linestyle=(0, (4, 3)))
            text = f"{name} {round(mean, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")
            axes.text(
                right, 1.05, text, color=colour, ha="right", va="bottom", transform=axes.transAxes
            )
            lowest = min(lowest, middle[share > 1e-4][0])
        axes.set_ylim(bottom=0)
    panels[-1].set_xlim(max(np.floor(4 * lowest) / 4, -1), 1)
    panels[-1].set_xlabel("cosine similarity of two images' projections (dashed: mean)")
    figure.supylabel("pairs, % in each 0.02", color=COLOURS["muted"], fontsize=STYLE["font.size"])
    return {"similarity": figure}


def _map(findings):
    """The map, coloured by label where there are labels, else by cluster, with names on it."""
    groups = map_groups(findings)
    if not groups:
        return {}
    title, names, members, colours = groups[0]
    figure, axes = _axes(f"Map of embeddings, coloured by {title}", "", "", (8, 8))
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_visible(False)
    # y grows downwards, as on the page's canvas.
    axes.scatter(*(findings.xy * (1, -1)).T, c=np.array(colours)[members], s=5, linewidths=0)
    for group in np.unique(members):
        x, y = np.median(findings.xy[members == group], axis=0)
        axes.text(
            *(x, -y, names[group]),
            ha="center",
            va="center",
            fontsize=11 if len(names) <= _FEW else 6,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )
    return {"map": figure}


def map_groups(findings):
    """The ways to colour the map: a list of (title, names, group of each point, colours)."""
    kinds, clusters = [], findings.clusters
    if findings.labels is not None:
        order = np.arange(len(findings.class_names)) if clusters is None else clusters.orders[0]
        kinds.append(("label", findings.class_names, findings.labels, order))
    if clusters is not None:
        names = tuple(f"cluster {i}" for i in range(len(clusters.sizes)))
        kinds.append(("cluster", names, clusters.assignments, clusters.orders[1]))
    return [
        (title, names, members[findings.mapped], group_colours(np.argsort(order)))
        for title, names, members, order in kinds
    ]


def _clusters(clusters):
    """Size against spread, with the extremes named."""
    if clusters is None:
        return {}
    sizes, spread = clusters.sizes, clusters.variances
    figure, axes = _axes("Size and spread of each cluster", "images", "spread σ²", (5.2, 3.6))
    dots = dict(s=14, color=COLOURS["blue"], alpha=0.7, linewidths=0, clip_on=False)
    axes.scatter(sizes, spread, **dots)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    fair = sizes.mean()
    axes.axvline(fair, color=COLOURS["muted"], linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        f"mean {fair:,.0f}",
        (fair, 1),
        xycoords=("data", "axes fraction"),
        xytext=(3, -2),
        textcoords="offset points",
        va="top",
        color=COLOURS["muted"],
    )
    extremes = {np.argmin(sizes), np.argmax(sizes), np.argmin(spread), np.argmax(spread)}
    for i in sorted(extremes):
        axes.annotate(str(i), (sizes[i], spread[i]), (4, 4), textcoords="offset points")
    axes.set_xlim(left=0)
    return {"clusters": figure}


def _matrix(clusters, class_names):
    """Classes against clusters, like beside like; each row is a class's images."""
    if clusters is None or clusters.table is None:
        return {}
    classes, order = clusters.orders
    table = clusters.table[classes][:, order]
    share = 100 * table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    named, numbered = len(classes) <= _NAMED, len(order) <= _FEW
    size = (9, min(max(0.115 * len(classes), 4) + 1, 14))
    figure, axes = _axes("Share of each class in each cluster", "cluster", "class", size)
    # From clear to a middling blue, so that it stands on a light page and on a dark one.
    clear = LinearSegmentedColormap.from_list("", ["#2f87d800", "#2f87d8ff"])
    image = axes.imshow(share, cmap=clear, vmin=0, aspect="auto", interpolation="none")
    axes.grid(False)
    small = STYLE["font.size"] if len(classes) <= _FEW else 6
    names = [class_names[i] for i in classes] if named else []
    axes.set_yticks(range(len(names)), names, fontsize=small)
    axes.set_xticks(range(len(order)) if numbered else [], order if numbered else [])
    bar = figure.colorbar(image, ax=axes, shrink=min(1.0, 3 / size[1]), pad=0.02, anchor=(0, 1))
    bar.set_label("% of the class's images")
    bar.outline.set_visible(False)
    return {"classes": figure}
