"""Findings, figures and thumbnails to one self-contained HTML page.

The markup is in `templates`, Jinja templates that escape whatever is put into them; `page.css` and
`page.js` go into the page as they are.
"""

from importlib import resources

import jinja2
import numpy as np
from markupsafe import Markup

from cueco_tf.data.labels import UNLABELLED
from cueco_tf.evaluation.table import BASELINES, shown_scores
from pipelines.reporting import sections, style, thumbnails
from pipelines.reporting.names import caption

_NEIGHBOUR_PIXELS = 600_000
_LARGEST_CLUSTERS = 3  # of a class, named in the table of classes
_COLUMNS = {"": "this run", **BASELINES}
_SELDOM = "start_"  # the column of runs that begin with known weights


def render(template, looks, figures, pictures, originals=None, **context):
    """Fills a template, and the sections that all pages share.

    Args:
        template: name of a file in `templates`.
        looks: `Looks`.
        figures: a dict from name to `Figure`, as `plots.draw` returns it.
        pictures: what `thumbnails.read` takes, of the n images.
        originals: the start of the addresses of the images' files, or None.
        context: whatever else the template shows.

    Returns:
        The page as a string.
    """
    files = resources.files(__package__) / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: files.joinpath(name).read_text("utf-8")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(template).render(
        looks=looks,
        style=Markup(files.joinpath("page.css").read_text("utf-8")),
        script=Markup(files.joinpath("page.js").read_text("utf-8")),
        plots={
            name: Markup(style.to_svg(figure, name, figure.axes[0].get_title("left")))
            for name, figure in figures.items()
        },
        map=sections.map_data(looks, pictures),
        cards=list(sections.cards(looks, pictures)),
        members=sections.members(looks, originals),
        odd=sections.odd(looks, pictures),
        duplicates=list(sections.duplicates(looks, pictures)),
        **context,
    )


def build(findings, figures, pictures, originals=None):
    """Builds the report of a run: `render` with `Findings`."""
    columns = list(findings.metrics[0]) if findings.metrics else []
    classes = [] if findings.table is None else list(_classes(findings))
    return render(
        "report.html",
        findings,
        figures,
        pictures,
        originals,
        findings=findings,
        sections=list(_sections(findings, classes)),
        score_columns=list(_columns(findings.scores).values()),
        scores=list(_scores(findings.scores)),
        settings=findings.config.flat(),
        metrics=[[_number(row[name]) for name in columns] for row in findings.metrics],
        metric_names=columns,
        queries=list(_queries(findings, pictures)),
        classes=classes,
    )


def _sections(findings, classes):
    """Anchor and title of each section, in their order."""
    yield "found", "Found"
    if findings.clusters is not None:
        yield "clusters", "Clusters"
    yield from (("map", "Map"), ("odd", "Odd ones"), ("duplicates", "Duplicates"))
    yield from (("neighbours", "Neighbours"), ("training", "Training"))
    yield from (("similarity", "Similarity"), ("scores", "Scores"))
    if classes:
        yield "classes", "Classes"


def _number(value):
    return "" if value is None else f"{value:.4g}"


def _columns(scores):
    """The titles of the columns of the table of scores, by prefix."""
    begun = any(name.startswith(_SELDOM) for name in scores)
    return {prefix: title for prefix, title in _COLUMNS.items() if begun or prefix != _SELDOM}


def _scores(scores):
    """Rows of (title, cells, which is best) in percent; rows of which nothing is known are left
    out."""
    for name, title in shown_scores(scores).items():
        values = [scores.get(f"{prefix}{name}") for prefix in _columns(scores)]
        known = [value for value in values if value is not None]
        if known:
            cells = ["\N{EN DASH}" if value is None else f"{100 * value:.1f}" for value in values]
            best = [len(known) > 1 and value == max(known) for value in values]
            yield title, list(zip(cells, best, strict=True))


def _queries(findings, pictures):
    """A dict for each query: its own cell and those of its neighbours."""
    shown = np.concatenate([findings.queries[:, None], findings.neighbours], axis=1)
    images = thumbnails.read(pictures, shown, _NEIGHBOUR_PIXELS)
    labels = findings.labels
    for row, indices in enumerate(shown):
        cells = [
            {
                "name": findings.names[i],
                "short": caption(findings.names[i]),
                "label": findings.label(i),
                "same": labels is not None and labels[i] == labels[indices[0]] != UNLABELLED,
                "image": thumbnails.sheet(image[None], 1),
            }
            for i, image in zip(indices, images[row], strict=True)
        ]
        texts = sections.digits_that_differ(findings.neighbour_similarities[row])
        for cell, text in zip(cells[1:], texts, strict=True):
            cell["similarity"] = text
        yield {"query": cells[0], "neighbours": cells[1:]}


def _classes(findings):
    """A dict for each class: how many images it has and where they are."""
    for name, counts in zip(findings.class_names, findings.table, strict=True):
        total = counts.sum()
        largest = np.argsort(-counts, kind="stable")[:_LARGEST_CLUSTERS]
        yield {
            "name": name,
            "images": int(total),
            "clusters": [(int(i), counts[i] / total) for i in largest if counts[i]],
        }
