"""Nearest neighbours and near-duplicates of more embeddings than memory holds.

As in `neighbours`, a row is compared with those of its part of the space. The rows lie on disk;
each adds some sixty bytes to memory. Needs faiss.
"""

import dataclasses
import math
import mmap
import os
import tempfile

import numpy as np

from cueco_tf.clustering import duplicates
from cueco_tf.clustering.kmeans import spherical_kmeans
from cueco_tf.clustering.neighbours import EXACT, search_cells, sort_into_cells
from cueco_tf.evaluation.vectors import normalize

NEIGHBOURS = 10
_ROUNDS, _POINTS = 10, 64  # of k-means, and rows a cell that it sees: cells need not be good ones
_BLOCK = 65_536  # rows held at once
_SCATTERED = 2_048  # rows taken from all over the file at once; each maps up to 64 KB


class RowsOnDisk:
    """The L2-normalised embeddings of a table, in a nameless file that ends with the process.

    It has a length, `shape` `(n, dim)`, and gives the rows of a slice without a step, some at a
    time, or of an array of numbers. `alike` says whether all rows are the same.

    Args:
        table: has `rows`, `dim` and `blocks(columns)`, as in `embedding.tables`.
        folder: path, there, for the file: 4 bytes a number.

    Raises:
        ValueError: for embeddings that are not finite numbers.
        OSError: where the disk is full, and the like.
    """

    def __init__(self, table, folder):
        self.shape = table.rows, table.dim
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (needed after this)
        least, most = np.full((2, table.dim), np.inf, np.float32)
        most = -most
        for block in table.blocks(["embeddings"]):
            if len(block["embeddings"]):
                x = normalize(block["embeddings"])
                self._file.write(x.tobytes())
                least, most = np.minimum(least, x.min(axis=0)), np.maximum(most, x.max(axis=0))
        self._file.flush()
        self.alike = bool((most - least).max() < 1e-6)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            return self._read(start, stop)
        chosen = np.empty((len(rows), self.shape[1]), np.float32)
        for start in range(0, len(rows), _SCATTERED):
            part = slice(start, start + _SCATTERED)
            # A new map each time: an old one counts as memory what was read by it.
            with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                mapped = np.frombuffer(content, np.float32).reshape(self.shape)
                chosen[part] = mapped[rows[part]]
                del mapped  # or the map could not be closed
        return chosen

    def _read(self, start, stop):
        """Consecutive rows, read as a stream."""
        row = 4 * self.shape[1]
        content = os.pread(self._file.fileno(), (stop - start) * row, start * row)
        return np.frombuffer(content, np.float32).reshape(-1, self.shape[1])


def neighbours_of_many(x, k, queries=None, seed=0, cells=None):
    """The rows most similar to each query, by cosine, a cell of the space at a time.

    Args:
        x: `RowsOnDisk`, n >= 2.
        k: integer >= 1.
        queries: `RowsOnDisk`, or None for the rows themselves, of which none is its own neighbour.
        seed: integer >= 0, of k-means. Defaults to 0.
        cells: integer in [1, n]. Defaults to 1 up to 20,000 rows, which is exact, and to the
            square root of 3 n beyond: sorting into cells then costs as much as searching them.

    Yields:
        `(of, found, similarities)`: see `neighbours.search_cells`. Each query comes once.
    """
    if cells is None:
        cells = cells_of(len(x))
    rng = np.random.default_rng(seed)
    seen = rng.choice(len(x), min(len(x), _POINTS * cells), replace=False, shuffle=False)
    centres = spherical_kmeans(x[np.sort(seen)], cells, seed, _ROUNDS)
    near, centres = sort_into_cells(x, centres, k, _nearest_cells)
    home = near[:, 0] if queries is None else _nearest_cells(queries, centres, 1)[:, 0]
    yield from search_cells(x, queries, near, home, k, _search)


def cells_of(rows):
    """How many cells so many rows are sorted into."""
    return 1 if rows <= EXACT else math.isqrt(3 * rows)


def _search(x, queries, k):
    import faiss

    similarities, found = faiss.knn(queries, x, k, faiss.METRIC_INNER_PRODUCT)
    return found, similarities


def _nearest_cells(x, centres, count):
    """The nearest centres of each row, the nearest first: `(n, count)` int32."""
    near = np.empty((len(x), count), np.int32)
    for start in range(0, len(x), _BLOCK):
        block = slice(start, start + _BLOCK)
        near[block] = _search(centres, x[block], count)[0]
    return near


@dataclasses.dataclass(frozen=True)
class ManyPairs:
    """Which of n images are nearly the same, and which are like no other.

    `threshold` is the cosine above which two are near-duplicates, `groups` a list of arrays of
    numbers of such, the largest first, `odd` the numbers of the odd ones out, the oddest first. Of
    `numbers` `(m,)`, ascending, which are all of these, `rows` `(m, k)` are the nearest neighbours,
    -1 for none, and `similarities` `(m, k)` their cosines.
    """

    threshold: float
    groups: list
    odd: np.ndarray
    numbers: np.ndarray
    rows: np.ndarray
    similarities: np.ndarray


def pairs_of_many(x, folder, threshold=None, seed=0, cells=None):
    """Finds near-duplicates and odd ones out, as `duplicates` defines them.

    Args:
        x: `RowsOnDisk`, n >= 2.
        folder: path, there, for a nameless file of all neighbours: 128 bytes a row.
        threshold: float, a cosine, or None for that of `duplicates.threshold`.
        seed, cells: as in `neighbours_of_many`.

    Returns:
        `ManyPairs`.
    """
    k = min(NEIGHBOURS, len(x) - 1)
    dtype = np.dtype([("of", "<i8"), ("rows", "<i8", (k,)), ("similarities", "<f4", (k,))])
    last, mean = np.full((2, len(x)), -1, np.float32)
    with tempfile.TemporaryFile(dir=folder) as file:
        for of, found, similarities in neighbours_of_many(x, k, seed=seed, cells=cells):
            block = np.empty(len(of), dtype)
            block["of"], block["rows"], block["similarities"] = of, -1, -1
            block["rows"][:, : found.shape[1]] = found
            block["similarities"][:, : found.shape[1]] = similarities
            last[of], mean[of] = block["similarities"][:, -1], block["similarities"].mean(axis=1)
            file.write(block.tobytes())
        if threshold is None:
            threshold = duplicates.threshold(last[:, None])
        groups = duplicates.join(*_pairs(file, dtype, threshold))
        odd = duplicates.far(1 - mean)
        numbers = np.unique(np.concatenate([np.empty(0, np.int64), *groups, odd]))
        kept = np.concatenate(
            [block[np.isin(block["of"], numbers)] for block in _blocks(file, dtype)]
        )
    known = np.zeros(len(numbers), dtype)
    known["rows"], known["similarities"] = -1, -1
    known[np.searchsorted(numbers, kept["of"])] = kept
    return ManyPairs(threshold, groups, odd, numbers, known["rows"], known["similarities"])


def _pairs(file, dtype, threshold):
    """The pairs that are at least so similar: two arrays of numbers."""
    pairs = [np.empty((2, 0), np.int64)]
    for block in _blocks(file, dtype):
        one, place = np.nonzero((block["similarities"] >= threshold) & (block["rows"] >= 0))
        pairs.append(np.stack([block["of"][one], block["rows"][one, place]]))
    return np.concatenate(pairs, axis=1)


def _blocks(file, dtype):
    file.seek(0)
    while content := file.read(_BLOCK * dtype.itemsize):
        yield np.frombuffer(content, dtype)
