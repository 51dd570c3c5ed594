"""What a page shows of images, as arrays: clusters, a map, odd ones out, near-duplicates.

Every function takes arrays and returns arrays; n is the number of images looked at.
"""

import dataclasses
from functools import cached_property

import numpy as np

from cueco_tf.clustering import duplicates
from cueco_tf.clustering.describe import Clusters, side_by_side
from cueco_tf.clustering.neighbours import nearest
from cueco_tf.data.labels import UNLABELLED
from cueco_tf.evaluation import quality
from cueco_tf.evaluation.vectors import normalize
from cueco_tf.settings.run import RunConfig
from pipelines.reporting.flat_map import flat_map

NO_LABEL = "no label"  # the name of the group of images whose class is unknown
MAPPED = 5_000  # images on a map
NEIGHBOURS = 10

_FEW_USED = 4  # a quarter of the clusters there are, and less


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Which of n images are nearly the same, and which are like no other.

    `rows` `(n, k)` are each image's nearest neighbours, `similarities` their cosines; `threshold`
    is the cosine above which two are near-duplicates, `groups` a list of index arrays of such, the
    largest first. `odd` are the indices of the odd ones out, the oddest first.
    """

    rows: np.ndarray
    similarities: np.ndarray
    threshold: float
    groups: list
    odd: np.ndarray


def find_pairs(h, seed=0, threshold=None):
    """Finds near-duplicates and odd ones out.

    Args:
        h: float32 `(n, features)`, L2-normalised, n >= 2.
        seed: integer, defaults to 0.
        threshold: float, a cosine, or None for `duplicates.threshold`.

    Returns:
        `Pairs`.
    """
    rows, similarities = nearest(h, min(NEIGHBOURS, len(h) - 1), seed=seed)
    threshold = duplicates.threshold(similarities) if threshold is None else threshold
    groups = duplicates.groups(rows, similarities, threshold)
    return Pairs(rows, similarities, threshold, groups, duplicates.outliers(similarities))


@dataclasses.dataclass(frozen=True)
class Looks:
    """What every page shows of n images.

    `names` are n strings, `clusters` is None where there are none (yet). `labels` is `(n,)`
    integers, -1 where unknown, or None, as is `class_names`. `mapped` are the indices of the
    `(m,)` images on the map, at `xy` `(m, 2)`; both are None without a map. `pairs` has
    near-duplicates and odd ones out. `effective_rank` and `silhouette` are those of
    `evaluation.quality`, the latter None without clusters.
    """

    names: list
    clusters: Clusters | None
    labels: np.ndarray | None
    class_names: tuple | None
    mapped: np.ndarray | None
    xy: np.ndarray | None
    pairs: Pairs
    effective_rank: float
    silhouette: float | None

    @property
    def count(self):
        """How many images were looked at, n."""
        return len(self.names)

    def label(self, i):
        """The name of an image's class; None without labels."""
        if self.labels is None:
            return None
        return (*self.class_names, NO_LABEL)[self.labels[i]]  # -1, the last, stands for unknown

    @cached_property
    def table(self):
        """The images of each class in each cluster, `(classes, L)`; None without labels or
        clusters."""
        if self.labels is None or self.clusters is None:
            return None
        table = np.zeros((len(self.class_names), len(self.clusters)), np.int64)
        own = (self.clusters.assignments >= 0) & (self.labels != UNLABELLED)
        np.add.at(table, (self.labels[own], self.clusters.assignments[own]), 1)
        return table

    @cached_property
    def purities(self):
        """The largest class's share of a cluster's labelled images, `(L,)`; NaN without any."""
        with np.errstate(invalid="ignore"):
            return self.table.max(axis=0) / self.table.sum(axis=0)

    @cached_property
    def orders(self):
        """Classes and used clusters in an order that puts like beside like: two index arrays.

        Classes that share clusters stand side by side, and a cluster stands where its majority
        class does. Without labels, clusters with similar centroids stand side by side, and the
        order of the classes is None.
        """
        if self.table is None:
            return None, self.clusters.alike
        shares = self.table / np.maximum(self.table.sum(axis=1, keepdims=True), 1)
        classes, used = side_by_side(np.sqrt(shares)), self.clusters.used
        place = self.table[classes].argmax(axis=0) - self.purities  # the purest first
        place = np.where(self.table.any(axis=0), place, np.inf)
        return classes, used[np.argsort(place[used], kind="stable")]


def look(h, names, clusters, seed=0, labels=None, class_names=None):
    """Finds what every page shows.

    Args:
        h: float32 `(n, features)`, L2-normalised, n >= 2.
        names: n strings.
        clusters: `Clusters` of the same images, or None.
        seed: integer, defaults to 0.
        labels: `(n,)` integers, or None.
        class_names: tuple, or None.

    Returns:
        `Looks`.
    """
    mapped = np.sort(np.random.default_rng(seed).permutation(len(h))[:MAPPED])
    return Looks(
        names=names,
        clusters=clusters,
        labels=labels,
        class_names=class_names,
        mapped=mapped,
        xy=flat_map(h[mapped], seed),
        pairs=find_pairs(h, seed),
        effective_rank=quality.effective_rank(h, seed),
        silhouette=quality.silhouette(h, None if clusters is None else clusters.assignments, seed),
    )


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


@dataclasses.dataclass(frozen=True)
class Findings(Looks):
    """All that a report shows of one run.

    `method` is its title, `terms` the names of its losses, `clusters_are` what its clusters are
    (`running.clusters`), or None, `num_clusters` how many there are or will be. `metrics` and
    `config` are the run folder's; `scores` the evaluation's or the summary's, a dict;
    `evaluated` says which. `queries` is `(q,)`, `neighbours` and `neighbour_similarities` `(q, k)`.
    `similarity` maps percent of training to `Similarity`, of `similarity_sample` images. `images`
    says in lines what was taken from a folder and what was left.
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
    queries: np.ndarray
    neighbours: np.ndarray
    neighbour_similarities: np.ndarray
    similarity: dict
    similarity_sample: int
    images: tuple = ()

    @property
    def evenly_used(self):
        """As many clusters, if all held the same number of images, would be as evenly filled: the
        exponential of the entropy of their shares."""
        shares = self.clusters.sizes[self.clusters.used] / self.clusters.sizes.sum()
        return float(np.exp(-np.sum(shares * np.log(shares))))

    @property
    def few_used(self):
        """Whether the images lie in so few clusters that something went wrong."""
        return self.evenly_used < min(self.num_clusters, self.count) / _FEW_USED
