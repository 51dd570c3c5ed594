"""Near-duplicates, leaks and outliers of images in memory, or of more than it holds."""

import dataclasses

import numpy as np

from cueco_tf.clustering import limits
from cueco_tf.clustering.many_neighbours import (
    NEIGHBOURS,
    RowsOnDisk,
    cells_of,
    neighbours_of_many,
    pairs_of_many,
)
from cueco_tf.clustering.neighbours import CELLS, EXACT, PER_CELL, nearest
from cueco_tf.clustering.search import values_of
from cueco_tf.embedding.rows import check_space
from pipelines.grouping.collection import (
    Collection,
    all_alike,
    named_collection,
    open_collection,
    unlike_encoders,
)
from pipelines.reporting.findings import Pairs, find_pairs

_LEAK = np.dtype([("i", "<i8"), ("j", "<i8"), ("similarity", "<f4")])


@dataclasses.dataclass(frozen=True)
class Images:
    """What was found among `images` images, each of which was compared with about `compared`.

    `collection` has those of them, at least, that are in `pairs`, and the nearest of each; `leaks`
    is a list of `(i, j, similarity)`, i in `other` and j in `collection`, the most similar first.
    Both are None unless they were asked for.
    """

    images: int
    compared: int
    collection: Collection
    pairs: Pairs
    other: Collection | None
    leaks: list | None


def find_among_few(sources, threshold=None):
    """Finds near-duplicates and odd ones out, and what of another source is nearly among them.

    Args:
        sources: paths of embeddings, one or two.
        threshold: float, a cosine, or None for one from the data.

    Returns:
        `Images`.

    Raises:
        ValueError: for embeddings that cannot be read, or compared; the message says why.
    """
    collection = open_collection(sources[0])
    collection.check_varied()
    other = leaks = None
    if len(sources) > 1:
        other = open_collection(sources[1])
        collection.check_comparable(other)
    pairs = find_pairs(collection.embeddings, threshold=threshold)
    if other is not None:
        rows, similarities = nearest(collection.embeddings, 1, other.embeddings)
        leaks = _near(np.arange(len(rows)), rows, similarities, pairs.threshold)
        leaks = _best_first(leaks).tolist()
    compared = len(collection) if len(collection) <= EXACT else CELLS * PER_CELL
    return Images(len(collection), compared, collection, pairs, other, leaks)


def find_among_many(tables, sources, folder, threshold=None):
    """The same for tables, which are not held in memory.

    Args:
        tables: see `cueco_tf.embedding.tables`, one or two.
        sources: their paths.
        folder: path, there, for what lies on disk meanwhile.
        threshold: as above.

    Returns:
        `Images`.

    Raises:
        NoFaissError: where faiss is missing.
        UsageError: where all embeddings are the same, or of different encoders.
        OSError: where the disk is full, and the like.
    """
    table, other = (*tables, None)[:2]
    limits.check_neighbours(sum(each.rows for each in tables))
    needed = table.rows * (8 + 12 * NEIGHBOURS)
    for each in tables:
        needed += 4 * each.rows * each.dim
        if (each.dim, each.origin.get("sha256")) != (table.dim, table.origin.get("sha256")):
            raise unlike_encoders(*sources)
    check_space(folder / "rows", needed)
    x = RowsOnDisk(table, folder)
    if x.alike:
        raise all_alike(sources[0], table.rows)
    found = pairs_of_many(x, folder, threshold)
    theirs, leaks, nearest = None, None, found.rows[found.rows[:, 0] >= 0, 0]
    if other is not None:
        queries = RowsOnDisk(other, folder)
        parts = [_near(*each, found.threshold) for each in neighbours_of_many(x, 1, queries)]
        leaks = _best_first(np.concatenate(parts))
        asked = np.unique(leaks["i"])
        theirs = _collection(sources[1], other, queries, asked)
        nearest = np.concatenate([nearest, leaks["j"]])
    numbers = np.unique(np.concatenate([found.numbers, nearest]))
    if other is not None:
        places = np.searchsorted(asked, leaks["i"]), np.searchsorted(numbers, leaks["j"])
        leaks["i"], leaks["j"] = places
        leaks = leaks.tolist()
    cells = cells_of(table.rows)
    return Images(
        images=table.rows,
        compared=table.rows * min(CELLS, cells) // cells,
        collection=_collection(sources[0], table, x, numbers),
        pairs=_pairs(found, numbers),
        other=theirs,
        leaks=leaks,
    )


def _near(of, found, similarities, threshold):
    """The queries whose nearest row is at least so similar: `(m,)` of `_LEAK`."""
    near = np.flatnonzero(similarities[:, 0] >= threshold)
    leaks = np.empty(len(near), _LEAK)
    leaks["i"], leaks["j"], leaks["similarity"] = of[near], found[near, 0], similarities[near, 0]
    return leaks


def _best_first(leaks):
    return leaks[np.lexsort((leaks["i"], -leaks["similarity"]))]


def _collection(source, table, x, numbers):
    """Some rows of a table."""
    paths = values_of(table, "paths", numbers)
    paths = np.array([paths[i] for i in numbers.tolist()], object)
    return named_collection(source, table.origin, paths, x[numbers])


def _pairs(found, numbers):
    """`Pairs` of some images, by their places among these."""
    rows = np.full((len(numbers), found.rows.shape[1]), -1, np.int64)
    similarities = np.full(rows.shape, -1, np.float32)
    places = np.searchsorted(numbers, found.numbers)
    rows[places, 0] = np.searchsorted(numbers, found.rows[:, 0])
    similarities[places] = found.similarities
    groups = [np.searchsorted(numbers, group) for group in found.groups]
    odd = np.searchsorted(numbers, found.odd)
    return Pairs(rows, similarities, found.threshold, groups, odd)
