"""What the template's sections are filled with: sheets of images, cards, the map, the members."""

import math

import numpy as np

from cueco_tf.clustering.describe import OTHER
from pipelines.reporting import plots, thumbnails
from pipelines.reporting.names import caption, digits_that_differ

# Areas in pixels that keep the largest report, 1,000 clusters and 5,000 points, below 15 MB.
_CLUSTER_PIXELS, _MAP_PIXELS, _OTHER_PIXELS = 10_000_000, 7_000_000, 800_000
_COLUMNS = 4
_ODD, _GROUPS, _OF_GROUP = 24, 24, 8
SHOWN = 8  # of a cluster, before all are asked for
_MOST_PICTURES = 400  # of a cluster: a WebP has at most 16,383 pixels a side
_MOST_NAMES = 100_000
_LARGEST_CLASSES = 3  # of a cluster, named on its card
OTHER_TITLE = "In no cluster"


def sheet(images, names, notes=None, columns=_COLUMNS, shown=None):
    """Images with their names, on one picture.

    Args:
        images: uint8 `(n, side, side, 3)`.
        names: n strings.
        notes: n strings that stand before the names, or None.
        columns: integer >= 1.
        shown: integer, how many have a cell, or None for all.

    Returns:
        A dict for the template's `sheet`.
    """
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    cells = [
        {
            "name": name,
            "short": caption(name),
            "note": notes[i] if notes else None,
            "x": _percent(i % columns, columns),
            "y": _percent(i // columns, rows),
        }
        for i, name in enumerate(names[:shown])
    ]
    return {
        "sheet": thumbnails.sheet(images, columns),
        "size": f"{100 * columns}% {100 * rows}%",
        "columns": columns,
        "rows": rows,
        "pictured": len(images),
        "cells": cells,
    }


def _percent(place, count):
    """The background position that shows the place-th of `count` parts."""
    return round(100 * place / max(count - 1, 1), 3)


def odd(looks, pictures):
    """The sheet of odd ones out, the oddest first; None without any."""
    found = looks.pairs.odd[:_ODD]
    if not len(found):
        return None
    images = thumbnails.read(pictures, found, _OTHER_PIXELS)
    notes = digits_that_differ(looks.pairs.similarities[found].mean(axis=1))
    return sheet(images, _called(looks, found), notes)


def duplicates(looks, pictures):
    """A sheet for each group of near-duplicates, the largest first."""
    groups = looks.pairs.groups[:_GROUPS]
    count = max(1, sum(len(group[:_OF_GROUP]) for group in groups))
    for whole in groups:
        group = whole[:_OF_GROUP]
        images = thumbnails.read(pictures, group, _OTHER_PIXELS * len(group) // count)
        yield {"in_all": len(whole), **sheet(images, _called(looks, group))}


def _called(looks, indices):
    return [looks.names[i] for i in indices]


def cards(looks, pictures):
    """A dict for each used cluster, the largest first, and for the images in none."""
    clusters = looks.clusters
    if clusters is None:
        return
    groups = _groups(clusters)
    most = _pictured(len(groups), pictures.side)
    shown = [members[:most] for _, members in groups]
    images = thumbnails.read(pictures, np.concatenate(shown), _CLUSTER_PIXELS)
    ends = np.cumsum([len(each) for each in shown])
    alike = {int(c): place for place, c in enumerate(clusters.alike)}
    for (c, members), strip in zip(groups, np.split(images, ends[:-1]), strict=True):
        names = _called(looks, members[: len(strip)])
        yield {
            "number": c,
            "title": OTHER_TITLE if c < 0 else f"Cluster {c}",
            "size": len(members),
            "spread": 0.0 if c < 0 else float(clusters.spreads[c]),
            "alike": alike.get(c, len(alike)),
            "nexts": _next(clusters, c),
            "pictures": sheet(strip, names, shown=SHOWN),
            **_classes_of(looks, c),
        }


def _groups(clusters):
    """Number and members of each used cluster, the largest first, and of the images in none."""
    if clusters is None:
        return []
    groups = [(int(c), clusters.members[c]) for c in clusters.used]
    return [*groups, (OTHER, clusters.others)] if len(clusters.others) else groups


def _pictured(groups, side):
    """How many images of each group fit on the page."""
    return int(np.clip(_CLUSTER_PIXELS // (groups * side**2), SHOWN, _MOST_PICTURES))


def _next(clusters, c):
    """The cluster whose centroid is the most similar, None without another."""
    if c < 0 or len(clusters.used) < 2:
        return None
    others = clusters.used[clusters.used != c]
    return int(others[(clusters.centroids[others] @ clusters.centroids[c]).argmax()])


def _classes_of(looks, c):
    """The largest classes of a cluster with their shares, and its purity."""
    if looks.table is None or c < 0 or not looks.table[:, c].any():
        return {"classes": [], "purity": 0.0}
    counts = looks.table[:, c]
    largest = np.argsort(-counts, kind="stable")[:_LARGEST_CLASSES]
    return {
        "classes": [(looks.class_names[k], counts[k] / counts.sum()) for k in largest if counts[k]],
        "purity": float(looks.purities[c]),
    }


def members(looks, originals=None):
    """What the script lists a cluster's images from: names in the order of their ranks.

    Args:
        looks: `Looks`.
        originals: the start of the addresses of the images' files, or None.

    Returns:
        A dict of `originals` and `of`, names by cluster's number, the first of each cluster where
        there are more than 100,000 in all.
    """
    share = min(1.0, _MOST_NAMES / max(looks.count, 1))
    of = {
        c: _called(looks, own[: max(SHOWN, int(share * len(own)))])
        for c, own in _groups(looks.clusters)
    }
    return {"originals": originals, "of": of}


def map_data(looks, pictures):
    """What the script draws the map from; None without a map."""
    if looks.mapped is None:
        return None
    images = thumbnails.read(pictures, looks.mapped, _MAP_PIXELS)
    columns = math.isqrt(len(images) - 1) + 1
    place = np.round(10_000 * looks.xy).astype(int)
    return {
        "x": place[:, 0].tolist(),
        "y": place[:, 1].tolist(),
        "side": images.shape[1],
        "columns": columns,
        "sprites": thumbnails.sheet(images, columns),
        "names": _called(looks, looks.mapped),
        "groups": [
            {"title": title, "names": names, "of": np.asarray(of).tolist(), "colours": colours}
            for title, names, of, colours in plots.map_groups(looks)
        ],
    }
