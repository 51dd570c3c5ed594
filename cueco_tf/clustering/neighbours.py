"""Nearest neighbours of many embeddings by cosine: exact for few, within cells for many."""

import numpy as np
from sklearn.neighbors import NearestNeighbors

from cueco_tf.clustering.tree import grow

EXACT = 20_000  # up to so many rows every pair is compared
PER_CELL = 1000  # rows
CELLS = 3  # nearest ones in which a row can be found
_BLOCK = 8192  # rows whose distances to all cells are held at once


def nearest(x, k, queries=None, seed=0):
    """The rows most similar to each query, by cosine.

    Up to 20,000 rows that is exact. Beyond, k-means sorts the rows into cells of about a thousand;
    a query is compared with all rows that have its cell among their three nearest. Close pairs are
    rarely lost, and the time grows in proportion to the number of rows.

    Args:
        x: float32 `(n, dim)`, L2-normalised, n >= 2.
        k: integer >= 1.
        queries: float32 `(q, dim)`, L2-normalised, or None for the rows themselves, of which none
            is its own neighbour.
        seed: integer, of k-means. Defaults to 0.

    Returns:
        `(rows, similarities)`, int64 and float32 `(q, k)`, the most similar first. Where a query
        has fewer than k neighbours the rest is -1, of similarity -1.
    """
    if len(x) <= EXACT:
        near, home = np.zeros((len(x), 1), np.int32), np.zeros(len(x), np.int32)
        home = home if queries is None else np.zeros(len(queries), np.int32)
    else:
        centres = grow(x, seed, len(x) // PER_CELL).centres
        near, centres = sort_into_cells(x, centres, k, _nearest_cells)
        home = near[:, 0] if queries is None else _nearest_cells(queries, centres, 1)[:, 0]
    rows = np.full((len(home), k), -1, np.int64)
    similarities = np.full((len(home), k), -1, np.float32)
    for of, found, similarity in search_cells(x, queries, near, home, k, _search):
        rows[of, : found.shape[1]] = found
        similarities[of, : found.shape[1]] = similarity
    return rows, similarities


def sort_into_cells(x, centres, k, nearest_cells):
    """The cells in which each row can be found. Those of too few rows to find k neighbours in, such
    as that of a row far from all others, are given up.

    Args:
        x: `(n, dim)` rows.
        centres: `(cells, dim)`.
        k: integer >= 1, neighbours that are wanted.
        nearest_cells: function of `(x, centres, count)` that returns the `count` nearest centres
            of each row, `(n, count)` integers, the nearest first.

    Returns:
        `(near, centres)`: the up to three nearest cells of each row, and the centres that are left.
    """
    near = nearest_cells(x, centres, min(CELLS, len(centres)))
    large = np.bincount(near.ravel(), minlength=len(centres)) > k
    if large.all() or not large.any():
        return near, centres
    centres = centres[large]
    return nearest_cells(x, centres, min(CELLS, len(centres))), centres


def search_cells(x, queries, near, home, k, search):
    """Finds the neighbours of queries within cells, a cell at a time.

    Args:
        x, queries: as in `nearest`; anything of a length that gives rows for an array of numbers.
        near: `(n, c)` integers >= 0, the cells that each row can be found in.
        home: `(q,)` integers, the cell that each query looks into.
        k: integer >= 1.
        search: function of `(rows, queries, k)` that returns the indices of the k nearest rows, the
            nearest first, and their cosines, `(queries, k)` each.

    Yields:
        `(of, found, similarities)`: numbers of queries `(m,)`, and what was found for each, numbers
        of rows and their cosines, `(m, k)` or, in a cell with few, less.
    """
    own = queries is None
    for of, among in _cells(near, home, own):
        asked = x[of] if own else queries[of]
        found, similarities = search(x[among], asked, min(k + own, len(among)))
        found = among[found]
        if own:  # a row is mostly its own first neighbour, but not where others equal it
            itself = found == of[:, None]
            itself[~itself.any(axis=1), -1] = True
            found = found[~itself].reshape(len(of), -1)
            similarities = similarities[~itself].reshape(len(of), -1)
        yield of, found, similarities


def _search(x, queries, k):
    """What `search_cells` asks for."""
    search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(x)
    distances, found = search.kneighbors(queries)
    return found, 1 - distances**2 / 2


def _cells(near, home, own):
    """Yields pairs of index arrays: queries, and the rows to compare them with."""
    cell, each = near.ravel(), np.arange(max(near.max(), home.max(initial=0)) + 2)
    order, asked = (np.argsort(cells, kind="stable") for cells in (cell, home))
    bounds, starts = np.searchsorted(cell[order], each), np.searchsorted(home[asked], each)
    for i in each[:-1]:
        of = asked[starts[i] : starts[i + 1]]
        if len(of) and bounds[i + 1] - bounds[i] > own:
            yield of, np.sort(order[bounds[i] : bounds[i + 1]] // near.shape[1])


def _nearest_cells(x, centres, count):
    """The nearest centres of each row, the nearest first: `(n, count)` int32."""
    found = np.empty((len(x), count), np.int32)
    offset = 0.5 * np.sum(centres**2, axis=1)
    for start in range(0, len(x), _BLOCK):
        score = offset - x[start : start + _BLOCK] @ centres.T
        near = np.argpartition(score, count - 1, axis=1)[:, :count]
        order = np.argsort(np.take_along_axis(score, near, axis=1), axis=1, kind="stable")
        found[start : start + _BLOCK] = np.take_along_axis(near, order, axis=1)
    return found
