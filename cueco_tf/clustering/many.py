"""Clusters of more embeddings than memory holds: from a sample, then all in one pass.

A table, here, has `rows`, `dim` and `blocks(columns)`, as `embedding.tables` describes it.
"""

import dataclasses

import numpy as np

from cueco_tf.clustering import limits
from cueco_tf.clustering.count import Curve, choose_count
from cueco_tf.clustering.describe import OTHER, describe, fences
from cueco_tf.clustering.kmeans import POINTS, spherical_kmeans
from cueco_tf.clustering.rule import Rule
from cueco_tf.evaluation.vectors import normalize

_LEAST_SAMPLE = 50_000  # rows, however few the clusters


class ManyError(ValueError):
    """A table that cannot be sorted as was asked for; the message says why."""


@dataclasses.dataclass(frozen=True)
class ManyClusters:
    """L clusters, found in a sample of a table's rows, that sort all of them.

    `rule` sorts, `numbers` are the `(s,)` rows of the sample, ascending, `x` their L2-normalised
    embeddings `(s, dim)`, `curve` how the count was chosen, None where it was given, and `wanted`
    that count: some clusters may have been left empty. A row farther (1 - cosine) from its centroid
    than `farthest`, float `(L,)` or None, belongs to none.
    """

    rule: Rule
    numbers: np.ndarray
    x: np.ndarray
    curve: Curve | None
    wanted: int
    farthest: np.ndarray | None

    def __len__(self):
        return len(self.rule.centroids)

    def describe(self, x):
        """`Clusters` of some L2-normalised rows, `(n, dim)`."""
        found = describe(x, self.rule.centroids)
        if self.farthest is None:
            return found
        out = 1 - found.similarities > self.farthest[found.assignments]
        assignments = np.where(out, np.int32(OTHER), found.assignments)
        return dataclasses.replace(found, assignments=assignments)

    def sort(self, table):
        """Sorts all rows of a table in one pass.

        Yields:
            `(paths, clusters)` for some rows at a time, in order: a list of strings, and their
            `Clusters`.
        """
        for block in table.blocks(["paths", "embeddings"]):
            if len(block["paths"]):
                yield block["paths"], self.describe(normalize(block["embeddings"]))


def cluster_many(table, count="auto", seed=0, other=None):
    """Finds clusters in a sample of a table's rows by spherical k-means.

    Memory holds the sample, 256 rows a cluster and at least 50,000, and not the table, which is
    read once.

    Args:
        table: see above; at least `count` rows.
        count: integer >= 1, or `"auto"`: as `count.choose_count` chooses in the sample, which then
            needs at least `count.LEAST_IMAGES` rows.
        seed: integer >= 0, of the sample and of k-means. Defaults to 0.
        other: which rows belong to no cluster: None for none; those less similar to their centroid
            than a float; or `"auto"`, than is usual in their cluster (`describe.fences`).

    Returns:
        `ManyClusters`, numbered from the one with most rows of the sample.

    Raises:
        NoFaissError: for more than 1,000 clusters without faiss.
        ManyError: where all rows of the sample are alike.
    """
    auto = count == "auto"
    if not auto:
        limits.check_clusters(count)
    numbers, x = draw(table, _LEAST_SAMPLE if auto else max(_LEAST_SAMPLE, POINTS * count), seed)
    if np.ptp(x, axis=0).max() < 1e-6:
        raise ManyError(
            f"All {len(x):,} embeddings looked at are the same: the images are alike, or the "
            f"encoder has collapsed."
        )
    curve = choose_count(x, seed) if auto else None
    wanted = curve.chosen if auto else count
    centroids = spherical_kmeans(x, wanted, seed)
    sorts = np.ascontiguousarray(centroids.T), np.zeros(len(centroids), np.float32)
    rule = Rule(*sorts, np.arange(len(centroids)), centroids, "kmeans")
    farthest = None
    if other == "auto":
        farthest = fences(describe(x, centroids))
    elif other is not None:
        farthest = np.full(len(centroids), 1 - other)
    return ManyClusters(rule, numbers, x, curve, wanted, farthest)


def draw(table, count, seed=0):
    """Random rows of a table, each as likely as any other, in one pass.

    Args:
        table: see above.
        count: integer >= 1: all rows where there are no more.
        seed: integer >= 0, defaults to 0.

    Returns:
        `(numbers, x)`: the rows' numbers, ascending, int64 `(s,)`, and their L2-normalised
        embeddings, float32 `(s, dim)`.
    """
    numbers = np.arange(table.rows)
    if count < table.rows:
        rng = np.random.default_rng(seed)
        numbers = np.sort(rng.choice(table.rows, count, replace=False, shuffle=False))
    x, start, taken = np.empty((len(numbers), table.dim), np.float32), 0, 0
    for block in table.blocks(["embeddings"]):
        stop = start + len(block["embeddings"])
        end = np.searchsorted(numbers, stop)
        if end > taken:
            x[taken:end] = normalize(block["embeddings"][numbers[taken:end] - start])
        start, taken = stop, end
    return numbers, x


class Tally:
    """What clusters have in common with their images, added up block by block: `sizes` `(L,)`,
    `spreads` `(L,)`, the mean squared distance of a cluster's images to its centroid (NaN where it
    has none), `medoids`, the path of the most similar image or None, and `others`, the images in no
    cluster.

    Args:
        count: integer, L.
    """

    def __init__(self, count):
        self.sizes, self.others = np.zeros(count, np.int64), 0
        self.medoids = [None] * count
        self._best, self._total = np.full(count, -np.inf), np.zeros(count)

    def add(self, paths, clusters):
        """Adds a block of `ManyClusters.sort`."""
        own = np.flatnonzero(clusters.assignments >= 0)
        self.others += len(paths) - len(own)
        of, similarities = clusters.assignments[own], clusters.similarities[own].astype(float)
        self.sizes += np.bincount(of, minlength=len(self.sizes))
        self._total += np.bincount(of, 2 - 2 * similarities, minlength=len(self.sizes))
        order = np.lexsort((own, -similarities, of))
        first = order[np.flatnonzero(np.diff(of[order], prepend=-1))]
        for i in first[similarities[first] > self._best[of[first]]]:
            self._best[of[i]], self.medoids[of[i]] = similarities[i], paths[own[i]]

    @property
    def spreads(self):
        """See above."""
        with np.errstate(invalid="ignore"):
            return self._total / self.sizes
