"""Findings, figures and thumbnails to one self-contained HTML page.

The markup is in `page.html`, a Jinja template that escapes whatever is put into it; `page.css` and
`page.js` go into the page as they are.
"""

import math
from importlib import resources

import jinja2
import numpy as np
from markupsafe import Markup

from cueco_tf.evaluation.table import BASELINES, SCORES
from pipelines.reporting import plots, style, thumbnails
from pipelines.reporting.findings import NO_LABEL

# Areas in pixels that keep the largest report, 1,000 clusters and 5,000 points, below 15 MB.
_CLUSTER_PIXELS, _MAP_PIXELS, _NEIGHBOUR_PIXELS = 12_000_000, 8_000_000, 600_000
_CARD_COLUMNS = 4
_LARGEST_CLASSES = 3  # of a cluster, named on its card

_COLUMNS = {"": "this run", **BASELINES}
_SELDOM = "start_"  # the column of runs that begin with known weights


def build(findings, figures, split):
    """Builds the page.

    Args:
        findings: `Findings`.
        figures: a dict from name to `Figure`, as `plots.draw` returns it.
        split: the split of the n images, to read thumbnails from.

    Returns:
        The page as a string.
    """
    files = resources.files(__package__)
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(files.joinpath("page.html").read_text())
    labels = findings.labels
    columns = list(findings.metrics[0]) if findings.metrics else []
    return template.render(
        findings=findings,
        style=Markup(files.joinpath("page.css").read_text()),
        script=Markup(files.joinpath("page.js").read_text()),
        plots={
            name: Markup(style.to_svg(figure, name, figure.axes[0].get_title("left")))
            for name, figure in figures.items()
        },
        score_columns=list(_columns(findings.scores).values()),
        scores=list(_scores(findings.scores)),
        settings=findings.config.flat(),
        metrics=[[_number(row[name]) for name in columns] for row in findings.metrics],
        metric_names=columns,
        map=_map(findings, split),
        queries=list(_queries(findings, split)),
        cards=list(_cards(findings, split)),
        classes=[] if labels is None or findings.clusters is None else list(_classes(findings)),
    )


def _number(value):
    return "" if value is None else f"{value:.4g}"


def _columns(scores):
    """The titles of the columns of the table of scores, by prefix."""
    begun = any(name.startswith(_SELDOM) for name in scores)
    return {prefix: title for prefix, title in _COLUMNS.items() if begun or prefix != _SELDOM}


def _scores(scores):
    """Rows of (title, cells, which is best) in percent; rows of which nothing is known are left
    out."""
    for name, title in SCORES.items():
        values = [scores.get(f"{prefix}{name}") for prefix in _columns(scores)]
        known = [value for value in values if value is not None]
        if known:
            cells = ["\N{EN DASH}" if value is None else f"{100 * value:.1f}" for value in values]
            best = [len(known) > 1 and value == max(known) for value in values]
            yield title, list(zip(cells, best, strict=True))


def _map(findings, split):
    """What the script draws the map from."""
    images = thumbnails.read(split, findings.mapped, _MAP_PIXELS)
    columns = math.isqrt(len(images) - 1) + 1
    place = np.round(10_000 * findings.xy).astype(int)
    return {
        "x": place[:, 0].tolist(),
        "y": place[:, 1].tolist(),
        "side": images.shape[1],
        "columns": columns,
        "sprites": thumbnails.sheet(images, columns),
        "groups": [
            {"title": title, "names": names, "of": np.asarray(of).tolist(), "colours": colours}
            for title, names, of, colours in plots.map_groups(findings)
        ],
    }


def _names(findings, indices):
    if findings.labels is None:
        return None
    names = (*findings.class_names, NO_LABEL)  # -1, the last, stands for unknown
    return [names[label] for label in findings.labels[indices]]


def _queries(findings, split):
    """A dict for each query: its own cell and those of its neighbours."""
    shown = np.concatenate([findings.queries[:, None], findings.neighbours], axis=1)
    images = thumbnails.read(split, shown, _NEIGHBOUR_PIXELS)
    for row, indices in enumerate(shown):
        names = _names(findings, indices) or [f"image {i}" for i in indices]
        cells = [
            {"name": name, "image": thumbnails.sheet(image[None], 1), "same": name == names[0]}
            for name, image in zip(names, images[row], strict=True)
        ]
        for cell, similarity in zip(cells[1:], findings.neighbour_similarities[row], strict=True):
            cell["similarity"] = f"{similarity:.2f}"
        yield {"query": cells[0], "neighbours": cells[1:]}


def _cards(findings, split):
    """A dict for each cluster."""
    clusters = findings.clusters
    if clusters is None:
        return
    images = thumbnails.read(split, np.concatenate(clusters.nearest), _CLUSTER_PIXELS)
    ends = np.cumsum([len(nearest) for nearest in clusters.nearest])
    strips = np.split(images, ends[:-1])
    for i, (indices, strip) in enumerate(zip(clusters.nearest, strips, strict=True)):
        columns = min(_CARD_COLUMNS, len(strip))
        card = {
            "number": i,
            "size": int(clusters.sizes[i]),
            "spread": float(np.nan_to_num(clusters.spreads[i])),
            "strip": thumbnails.sheet(strip, columns),
            "side": strip.shape[1],
            "columns": columns,
            "rows": -(-len(strip) // columns),
            "part": 100 * columns / _CARD_COLUMNS,
            "names": _names(findings, indices),
            "shown": len(indices),
            "classes": [],
        }
        if clusters.table is not None and clusters.table[:, i].any():
            counts = clusters.table[:, i]
            largest = np.argsort(-counts, kind="stable")[:_LARGEST_CLASSES]
            card["purity"] = float(clusters.purities[i])
            card["classes"] = [
                (findings.class_names[k], counts[k] / counts.sum()) for k in largest if counts[k]
            ]
        yield card


def _classes(findings):
    """A dict for each class: how many images it has and where they are."""
    table = findings.clusters.table
    for name, counts in zip(findings.class_names, table, strict=True):
        total = counts.sum()
        largest = np.argsort(-counts, kind="stable")[:_LARGEST_CLASSES]
        yield {
            "name": name,
            "images": int(total),
            "clusters": [(int(i), counts[i] / total) for i in largest if counts[i]],
        }
