"""A table as a figure: what a linear classifier makes of each row, against how well it clusters."""

import matplotlib
from matplotlib.figure import Figure

from pipelines.reporting.style import STYLE


def draw_table(found, scale):
    """A panel a data set, a point a row, with bars of the seeds' deviation.

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
            for number, (title, values) in enumerate(points.items()):
                colour = matplotlib.color_sequences["petroff10"][number % 10]
                (x, x_deviation), (y, y_deviation) = values["nmi"], values["linear_top1"]
                bars = dict(xerr=x_deviation, yerr=y_deviation, fmt="o", linewidth=1.5)
                axes.errorbar(x, y, color=colour, label=title, **bars)
            axes.legend(frameon=False)
    return figure
