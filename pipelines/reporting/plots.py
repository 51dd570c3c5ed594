"""The report's figures, in matplotlib: one set for the PNG files and, as SVG, for the page."""

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator, NullFormatter, ScalarFormatter

from pipelines.reporting import curves
from pipelines.reporting.findings import NO_LABEL
from pipelines.reporting.similarity import BINS
from pipelines.reporting.style import COLOURS, FEW, STYLE, new_axes

_NAMED = 120  # so many classes have room for their names beside the matrix


def draw(findings):
    """All figures that the findings have data for: a dict from file name to `Figure`."""
    with matplotlib.rc_context(STYLE):
        return {
            **curves.draw(findings.metrics, findings.terms),
            **_similarity(findings.similarity),
            **_map(findings),
            **_clusters(findings.clusters),
            **_matrix(findings),
        }


def draw_clusters(looks, curve):
    """The figures of a page of clusters: the map and, where the count was chosen, its curve."""
    with matplotlib.rc_context(STYLE):
        return {**_map(looks), **({} if curve is None else _counts(curve))}


def _counts(curve):
    """What each number of clusters gave."""
    figure, axes = new_axes("How many clusters", "clusters", "", (7, 3.4))
    for name, values, colour in (
        ("agreement", curve.agreements, "orange"),
        ("silhouette", curve.silhouettes, "blue"),
        ("product", curve.scores, "ink"),
    ):
        axes.plot(curve.counts, values, color=COLOURS[colour], label=name)
    axes.axvline(curve.chosen, color=COLOURS["muted"], linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        str(curve.chosen),
        (curve.chosen, 1),
        xycoords=("data", "axes fraction"),
        xytext=(3, -2),
        textcoords="offset points",
        va="top",
        color=COLOURS["muted"],
    )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks([t for t in (2, 3, 5, 10, 20, 50, 100, 200) if t <= curve.counts[-1]])
    axes.set_ylim(0, 1)
    below = dict(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3)
    axes.legend(frameon=False, labelcolor="linecolor", **below)
    return {"counts": figure}


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
    first = next(map_groups(findings), None)
    if first is None:
        return {}
    title, names, members, colours = first
    figure, axes = new_axes(f"Map of embeddings, coloured by {title}", "", "", (8, 8))
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_visible(False)
    # y grows downwards, as on the page's canvas.
    axes.scatter(*(findings.xy * (1, -1)).T, c=np.array(colours)[members], s=5, linewidths=0)
    for group in np.unique(members) if len(names) <= _NAMED else ():
        x, y = np.median(findings.xy[members == group], axis=0)
        axes.text(
            *(x, -y, names[group]),
            ha="center",
            va="center",
            fontsize=11 if len(names) <= FEW else 6,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )
    return {"map": figure}


def map_groups(looks):
    """Yields the ways to colour the map: (title, names, group of each point, colours). Only groups
    that have a point have a name and a colour."""
    kinds, clusters = [], looks.clusters
    if looks.labels is not None:
        names = looks.class_names
        order = np.arange(len(names)) if clusters is None else looks.orders[0]
        kinds.append(("label", [*names, NO_LABEL], looks.labels, order))
    if clusters is not None:
        names = [f"cluster {i}" for i in range(len(clusters))]
        kinds.append(("cluster", [*names, "no cluster"], clusters.assignments, looks.orders[1]))
    for title, names, members, order in kinds:  # -1, the last name, stands for none
        of = members[looks.mapped]
        shown = order[np.isin(order, of)]
        colours = group_colours(np.arange(len(shown)))
        if (of < 0).any():
            shown, colours = np.append(shown, -1), [*colours, COLOURS["muted"]]
        place = {int(group): i for i, group in enumerate(shown)}
        places = np.array([place[group] for group in of.tolist()])
        yield title, [names[i] for i in shown], places, colours


def _clusters(clusters):
    """Size against spread, with the extremes named."""
    if clusters is None:
        return {}
    sizes, spread = clusters.sizes, clusters.spreads
    figure, axes = new_axes("Size and spread of each cluster", "images", "spread σ²", (5.2, 3.6))
    dots = dict(s=14, color=COLOURS["blue"], alpha=0.7, linewidths=0, clip_on=False)
    axes.scatter(sizes, spread, **dots)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    fair = sizes[clusters.used].mean()
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
    used = clusters.used
    extremes = {used[0], used[-1], np.nanargmin(spread), np.nanargmax(spread)}
    for i in sorted(extremes):
        axes.annotate(str(i), (sizes[i], spread[i]), (4, 4), textcoords="offset points")
    axes.set_xlim(left=0)
    return {"clusters": figure}


def _matrix(looks):
    """Classes against clusters, like beside like; each row is a class's images."""
    if looks.table is None:
        return {}
    classes, order = looks.orders
    table = looks.table[classes][:, order]
    share = 100 * table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    named, numbered = len(classes) <= _NAMED, len(order) <= FEW
    size = (9, min(max(0.115 * len(classes), 4) + 1, 14))
    figure, axes = new_axes("Share of each class in each cluster", "cluster", "class", size)
    # From clear to a middling blue, so that it stands on a light page and on a dark one.
    clear = LinearSegmentedColormap.from_list("", ["#2f87d800", "#2f87d8ff"])
    image = axes.imshow(share, cmap=clear, vmin=0, aspect="auto", interpolation="none")
    axes.grid(False)
    small = STYLE["font.size"] if len(classes) <= FEW else 6
    names = [looks.class_names[i] for i in classes] if named else []
    axes.set_yticks(range(len(names)), names, fontsize=small)
    axes.set_xticks(range(len(order)) if numbered else [], order if numbered else [])
    bar = figure.colorbar(image, ax=axes, shrink=min(1.0, 3 / size[1]), pad=0.02, anchor=(0, 1))
    bar.set_label("% of the class's images")
    bar.outline.set_visible(False)
    return {"classes": figure}
