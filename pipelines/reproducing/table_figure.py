"""A table as a figure: what a linear classifier makes of each row, against how well it clusters."""

import matplotlib
from matplotlib.figure import Figure

from pipelines.reporting.style import COLOURS, STYLE

_GAP = 0.03  # between two names, as a share of the height


def draw_table(found, scale):
    """A panel a data set, a named point a row, with bars of the seeds' deviation.

    Args:
        found: `{data set: {title: {"linear_top1": (mean, deviation), "nmi": (mean, deviation)}}}`
            in %, deviations None for one seed.
        scale: the scale in words, for the title.

    Returns:
        A matplotlib `Figure`.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.2 * max(len(found), 1), 4.6))
        panels = figure.subplots(1, max(len(found), 1), squeeze=False)[0]
        for axes, (dataset, points) in zip(panels, found.items(), strict=False):
            axes.set(xlabel="NMI of k-means, %", ylabel="linear top-1, %")
            axes.set_title(f"{dataset}, {scale}")
            axes.margins(0.16, 0.1)
            for number, values in enumerate(points.values()):
                colour = matplotlib.color_sequences["petroff10"][number % 10]
                (x, x_deviation), (y, y_deviation) = values["nmi"], values["linear_top1"]
                axes.errorbar(
                    x, y, xerr=x_deviation, yerr=y_deviation, fmt="o", color=colour, linewidth=1.5
                )
            _name(axes, points)
    return figure


def _name(axes, points):
    """Writes each row's name to the right of its point, or to the left where it is far right, the
    names of a side apart from each other."""
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    for side in (False, True):
        own = [
            (v["linear_top1"][0], v["nmi"][0], title)
            for title, v in points.items()
            if (v["nmi"][0] > (left + right) / 2) == side
        ]
        lowest = bottom
        for y, x, title in sorted(own):
            at = max(y, lowest)
            lowest = at + _GAP * 1.6 * (top - bottom)
            shift = (right - left) * 0.02 * (-1 if side else 1)
            bold = "bold" if title == "CueCo" else "normal"
            axes.annotate(
                title,
                (x, y),
                (x + shift, at),
                ha="right" if side else "left",
                va="bottom",
                color=COLOURS["ink"],
                fontweight=bold,
            )
