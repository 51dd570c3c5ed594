"""Nearest neighbours of many embeddings by cosine: exact for few, within cells for many."""

import numpy as np
from sklearn.neighbors import NearestNeighbors

from cueco_tf.clustering.tree import grow

EXACT = 20_000  # up to so many rows every pair is compared
_PER_CELL = 1000  # rows
_CELLS = 3  # nearest ones in which a row can be found
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
    own = queries is None
    queries = x if own else queries
    rows = np.full((len(queries), k), -1, np.int64)
    similarities = np.full((len(queries), k), -1, np.float32)
    for of, among in _cells(x, queries, own, seed):
        found, distances = _search(x[among], queries[of], min(k + own, len(among)))
        found = among[found]
        if own:  # a row is mostly its own first neighbour, but not where others equal it
            itself = found == of[:, None]
            itself[~itself.any(axis=1), -1] = True
            found = found[~itself].reshape(len(of), -1)
            distances = distances[~itself].reshape(len(of), -1)
        rows[of, : found.shape[1]] = found
        similarities[of, : found.shape[1]] = 1 - distances**2 / 2
    return rows, similarities


def _search(x, queries, k):
    """Indices and Euclidean distances of the k nearest rows."""
    search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(x)
    distances, found = search.kneighbors(queries)
    return found, distances


def _cells(x, queries, own, seed):
    """Yields pairs of index arrays: queries, and the rows to compare them with."""
    if len(x) <= EXACT:
        yield np.arange(len(queries)), np.arange(len(x))
        return
    centres = grow(x, seed, len(x) // _PER_CELL).centres
    count = min(_CELLS, len(centres))
    near = _nearest_cells(x, centres, count)
    home = near[:, 0] if own else _nearest_cells(queries, centres, 1)[:, 0]
    cell = near.ravel()
    order = np.argsort(cell, kind="stable")
    bounds = np.searchsorted(cell[order], np.arange(len(centres) + 1))
    queries_of = np.split(
        np.argsort(home, kind="stable"),
        np.cumsum(np.bincount(home, minlength=len(centres)))[:-1],
    )
    for i, of in enumerate(queries_of):
        among = np.sort(order[bounds[i] : bounds[i + 1]] // count)
        if len(of) and len(among) > own:
            yield of, among


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
