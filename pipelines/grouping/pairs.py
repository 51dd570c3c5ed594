"""The page of duplicates."""

import numpy as np

from pipelines.reporting import page, sections, thumbnails
from pipelines.reporting.findings import Looks
from pipelines.reporting.names import digits_that_differ, shorten

_LEAKS = 48  # on the page
_SIDE = 64


def write_page(folder, found):
    """Writes index.html.

    Args:
        folder: path, to write into.
        found: `Images`.
    """
    collection, other, pairs = found.collection, found.other, found.pairs
    _, shorts = shorten(collection.paths)
    nothing = dict.fromkeys(
        ("clusters", "labels", "class_names", "mapped", "xy", "effective_rank", "silhouette")
    )
    titles = [("found", "Found"), ("duplicates", "Duplicates")]
    if other is not None:
        titles.append(("leaks", "Leaks"))
    text = page.render(
        "duplicates.html",
        Looks(names=shorts, pairs=pairs, **nothing),
        {},
        collection.pictures,
        title=collection.source,
        sections=[*titles, ("odd", "Odd ones")],
        surplus=sum(len(group) - 1 for group in pairs.groups),
        other=None if other is None else other.source,
        leak_count=len(found.leaks or ()),
        leaks=list(_sheets(collection, other, found.leaks or (), shorts)),
        images=found.images,
        compared=None if found.compared == found.images else found.compared,
    )
    (folder / "index.html").write_text(text, "utf-8")


def _sheets(collection, other, leaks, shorts):
    """A sheet for each of the first leaks."""
    if not leaks:
        return
    _, other_shorts = shorten(other.paths)
    shown = leaks[:_LEAKS]
    area = len(shown) * _SIDE**2
    theirs = thumbnails.read(other.pictures, [i for i, _, _ in shown], area)
    own = thumbnails.read(collection.pictures, [j for _, j, _ in shown], area)
    side = min(theirs.shape[1], own.shape[1])
    notes = digits_that_differ([similarity for _, _, similarity in shown])
    for place, (i, j, _) in enumerate(shown):
        both = np.stack([thumbnails.resize(each[place], side) for each in (theirs, own)])
        yield sections.sheet(both, [other_shorts[i], shorts[j]], ["", notes[place]])
