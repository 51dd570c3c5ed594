"""The look of the figures: colours, sizes, and how they become PNG files and SVG in the page."""

import io
import re
from html import escape

import matplotlib
from matplotlib.figure import Figure

# The page's style sheet has a variable of each name, with one value for light and one for dark.
COLOURS = {
    "ink": "#1d2026",
    "muted": "#59616d",
    "rule": "#d9dde3",
    "blue": "#0068b5",
    "orange": "#bf4d00",
    "green": "#00795a",
    "purple": "#8a3f9e",
}
STYLE = {
    "font.size": 11,
    "text.color": COLOURS["ink"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.edgecolor": COLOURS["rule"],
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlesize": 12,
    "axes.titlepad": 10,
    "grid.color": COLOURS["rule"],
    "grid.linewidth": 0.6,
    "xtick.color": COLOURS["rule"],
    "ytick.color": COLOURS["rule"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["muted"],
    "lines.linewidth": 2,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
    "text.parse_math": False,  # a class may be called $5
    "figure.constrained_layout.use": True,
}

FEW = 20  # so many epochs, or groups on a map, are marked one by one


def new_axes(title, xlabel, ylabel, size=(5.2, 3.2)):
    """A figure with one set of axes, both returned."""
    figure = Figure(figsize=size)
    axes = figure.subplots()
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    return figure, axes


def save_png(figure, path):
    """Writes the figure as a PNG."""
    with matplotlib.rc_context(STYLE):
        figure.savefig(path, format="png", dpi=160, facecolor="white")


def to_svg(figure, name, title):
    """The figure as an `<svg>` element whose colours are the page's variables.

    Args:
        figure: `Figure`.
        name: a word that makes the ids in it unique on the page.
        title: what a screen reader says it is.
    """
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        file = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\1{name}-", svg)
    for colour, value in COLOURS.items():
        svg = svg.replace(value, f"var(--{colour})")
    label = f'role="img" aria-label="{escape(title)}"'
    # The page sets the width; the height follows from the viewBox.
    return re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', rf"<svg \1 {label}>", svg, count=1)
