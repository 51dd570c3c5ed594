"""What a report shows of a run, as arrays: clusters, neighbours, a map, similarities.

Every function takes arrays and returns arrays; n is the number of images looked at.
"""

import dataclasses
from functools import cached_property

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from cueco_tf.data.labels import UNLABELLED
from cueco_tf.evaluation.features import normalize
from cueco_tf.settings.run import RunConfig

BINS = np.linspace(-1, 1, 101)  # of cosine similarities
PCA_DIMENSIONS = 50
NO_LABEL = "no label"  # the name of the group of images whose class is unknown

_BLOCK = 1024  # rows whose similarities to everything else are held at once


@dataclasses.dataclass(frozen=True)
class Clusters:
    """L clusters of n images.

    `assignments` is `(n,)` int32, `centroids` float32 `(L, dim)`, `spreads` float32 `(L,)`: the
    mean squared distance of a cluster's images to its centroid, NaN where it is empty. `nearest` is
    a list of L index arrays: a cluster's members most similar to its centroid, or the most similar
    images of other clusters where it has none. `table` is `(classes, L)`, the images of each class
    in each cluster, or None without labels.
    """

    assignments: np.ndarray
    centroids: np.ndarray
    spreads: np.ndarray
    nearest: list
    table: np.ndarray | None

    @cached_property
    def sizes(self):
        """Images of each cluster, `(L,)`."""
        return np.bincount(self.assignments, minlength=len(self.centroids))

    @cached_property
    def purities(self):
        """The largest class's share of a cluster's labelled images, `(L,)`; NaN without any."""
        with np.errstate(invalid="ignore"):
            return self.table.max(axis=0) / self.table.sum(axis=0)

    @cached_property
    def orders(self):
        """Classes and clusters in an order that puts like beside like: two index arrays.

        Classes that share clusters stand side by side, and a cluster stands where its majority
        class does; empty clusters come last. Without labels, clusters with similar centroids stand
        side by side, and the order of the classes is None.
        """
        if self.table is None:
            return None, _side_by_side(self.centroids)
        shares = self.table / np.maximum(self.table.sum(axis=1, keepdims=True), 1)
        classes = _side_by_side(np.sqrt(shares))
        place = self.table[classes].argmax(axis=0) - self.purities  # the purest first
        return classes, np.argsort(np.where(self.table.any(axis=0), place, np.inf), kind="stable")


def _side_by_side(rows):
    """An order of the rows in which neighbours are alike."""
    if len(rows) < 3:
        return np.arange(len(rows))
    return leaves_list(linkage(rows, "average", optimal_ordering=True))


def describe_clusters(z, centroids, labels=None, num_classes=0, shown=8):
    """Assigns images to clusters and describes these.

    Args:
        z: float32 `(n, dim)`, L2-normalised projections.
        centroids: `(L, dim)`, L2-normalised.
        labels: `(n,)` integers in [0, num_classes), -1 where unknown, or None.
        num_classes: integer.
        shown: integer >= 1, how many nearest images to name at most. Defaults to 8.

    Returns:
        `Clusters`.
    """
    assignments, similarity = np.empty(len(z), np.int32), np.empty(len(z), np.float32)
    for start in range(0, len(z), _BLOCK):
        block = slice(start, start + _BLOCK)
        cosine = z[block] @ centroids.T  # (block, L)
        assignments[block], similarity[block] = cosine.argmax(axis=1), cosine.max(axis=1)
    sizes = np.bincount(assignments, minlength=len(centroids))
    total = np.bincount(assignments, weights=2.0 - 2.0 * similarity, minlength=len(centroids))
    with np.errstate(invalid="ignore"):
        spreads = (total / sizes).astype(np.float32)
    members = np.split(np.lexsort((-similarity, assignments)), np.cumsum(sizes)[:-1])
    nearest = [
        (own if len(own) else np.argsort(-(z @ centroid), kind="stable"))[:shown]
        for own, centroid in zip(members, centroids, strict=True)
    ]
    table = None
    if labels is not None:
        table = np.zeros((num_classes, len(centroids)), np.int64)
        known = labels != UNLABELLED
        np.add.at(table, (labels[known], assignments[known]), 1)
    return Clusters(assignments, centroids, spreads, nearest, table)


def choose_queries(count, labels=None, queries=10, seed=0):
    """Random images to look for neighbours of, each of another class where there are labels.

    Args:
        count: integer, n.
        labels: `(n,)` integers, -1 where unknown, or None.
        queries: integer, how many at most. Defaults to 10.
        seed: integer, defaults to 0.

    Returns:
        Index array.
    """
    chosen = np.random.default_rng(seed).permutation(count)
    if labels is not None:
        _, first = np.unique(labels[chosen], return_index=True)
        chosen = chosen[np.sort(first)]
        chosen = chosen[labels[chosen] != UNLABELLED]
    return chosen[:queries]


def nearest_neighbours(h, queries, k=8):
    """The images most similar to each query by the cosine of their embeddings, itself left out.

    Args:
        h: float32 `(n, features)`.
        queries: `(q,)` indices.
        k: integer >= 1, defaults to 8.

    Returns:
        `(neighbours, similarities)`, `(q, min(k, n - 1))` each, the most similar first.
    """
    h = normalize(h)
    similarity = h[queries] @ h.T  # (q, n)
    similarity[np.arange(len(queries)), queries] = -np.inf
    order = np.argsort(-similarity, axis=1, kind="stable")[:, : min(k, len(h) - 1)]
    return order, np.take_along_axis(similarity, order, axis=1)


def flat_map(h, seed=0):
    """Places embeddings in a plane: L2-normalised, PCA to 50 dimensions, then t-SNE to two.

    Args:
        h: float32 `(n, features)`, n >= 2.
        seed: integer, defaults to 0.

    Returns:
        float32 `(n, 2)` in [0, 1], the longer side filling it.
    """
    x = normalize(h)
    x = PCA(min(PCA_DIMENSIONS, *x.shape), random_state=seed).fit_transform(x)
    # As scikit-learn's own start by PCA, but defined when all embeddings are the same.
    start = 1e-4 * x[:, :2] / max(x[:, 0].std(), 1e-12)
    perplexity = min(30.0, (len(x) - 1) / 3)
    # One thread: the same map on any machine. t-SNE waits for its threads a thousand times, so on
    # busy cores several were seen to take longer than one.
    with threadpool_limits(1):
        xy = TSNE(perplexity=perplexity, init=start, random_state=seed).fit_transform(x)
    xy = xy - xy.min(axis=0)
    return (xy / max(xy.max(), 1e-12)).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Similarity:
    """Cosine similarity of the pairs within a cluster and of the pairs between clusters.

    `within` and `between` are `(100,)`: the pairs' share in each of `BINS`; the means are floats,
    NaN where there is no such pair.
    """

    within: np.ndarray
    between: np.ndarray
    mean_within: float
    mean_between: float


def pair_similarity(z, clusters):
    """Looks at all pairs of images.

    Args:
        z: float32 `(n, dim)`, L2-normalised.
        clusters: `(n,)` integers.

    Returns:
        `Similarity`.
    """
    pairs, totals = np.zeros((2, len(BINS) - 1)), np.zeros(2)
    for start in range(0, len(z), _BLOCK):
        row = np.arange(start, min(start + _BLOCK, len(z)))
        cosine = np.clip(z[row] @ z[start:].T, -1, 1)
        once = row[:, None] < np.arange(start, len(z))  # each pair once, none of an image's own
        same = clusters[row, None] == clusters[start:]
        for i, chosen in enumerate((once & same, once & ~same)):
            pairs[i] += np.histogram(cosine[chosen], BINS)[0]
            totals[i] += cosine[chosen].sum(dtype=np.float64)
    counts = pairs.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return Similarity(*(pairs / np.maximum(counts, 1)[:, None]), *(totals / counts).tolist())


@dataclasses.dataclass(frozen=True)
class Findings:
    """All that a report shows of one run.

    `method` is its title, `terms` the names of its losses, `clusters_are` what its clusters are
    (`running.clusters`), or None, `num_clusters` how many there are or will be. `metrics` and
    `config` are the run folder's; `scores` the evaluation's or the summary's, a dict;
    `evaluated` says which. `labels` is `(n,)` or None, as is `class_names`. `mapped` are the
    indices of the `(m,)` images on the map, at `xy` `(m, 2)`. `queries` is `(q,)`, `neighbours` and
    `neighbour_similarities` `(q, k)`. `similarity` maps percent of training to `Similarity`, of
    `similarity_sample` images. `images` says in lines what was taken from a folder and what was
    left.
    """

    name: str
    method: str
    terms: tuple
    clusters_are: str | None
    num_clusters: int
    config: RunConfig
    metrics: list
    finished: bool
    scores: dict
    evaluated: bool
    labels: np.ndarray | None
    class_names: tuple | None
    clusters: Clusters | None
    mapped: np.ndarray
    xy: np.ndarray
    queries: np.ndarray
    neighbours: np.ndarray
    neighbour_similarities: np.ndarray
    similarity: dict
    similarity_sample: int
    count: int
    images: tuple = ()
