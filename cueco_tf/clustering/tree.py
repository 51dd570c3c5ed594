"""A tree of clusters: many small ones by k-means, merged two by two.

Ten, forty and two hundred clusters are cuts of one tree, so a cluster of a coarse cut is the union
of clusters of a finer one.
"""

import dataclasses
import warnings
from functools import cached_property

import numpy as np
from scipy.cluster.hierarchy import cut_tree, linkage
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

LEAVES = 400  # more, and 100 or 20 clusters of CIFAR-100 agree less with its classes
_PER_LEAF = 4  # images, where there are too few for all leaves
_MOST_IMAGES = 50_000  # a random sample that k-means sees
_ROUNDS = 30
_BLOCK = 8192  # rows whose similarities to all leaves are held at once


@dataclasses.dataclass(frozen=True)
class ClusterTree:
    """m small clusters, the leaves, and how they are merged.

    `centres` is float32 `(m, dim)`; `merges` `(m - 1, 4)`, a linkage of SciPy: a row merges two
    nodes at a height into one of so many leaves; node m + i is the result of row i.
    """

    centres: np.ndarray
    merges: np.ndarray

    def __len__(self):
        return len(self.centres)

    def cut(self, count):
        """The cluster of each leaf where the tree has `count` of them.

        Args:
            count: integer in [1, m], or a list of c such.

        Returns:
            `(m,)` integers in [0, count), or `(c, m)`.
        """
        if len(self) == 1:
            return np.zeros((*np.shape(count), 1), int)
        clusters = cut_tree(self.merges, n_clusters=count).T
        return clusters if np.ndim(count) else clusters[0]

    def halves(self, leaves):
        """What a node was merged from.

        Args:
            leaves: the leaves of one cluster of a cut.

        Returns:
            Two lists of leaves; none for a single leaf.
        """
        return self._nodes.get(frozenset(np.asarray(leaves).tolist()), [])

    @cached_property
    def _nodes(self):
        """From each merged node's leaves to those of its halves."""
        parts = [[i] for i in range(len(self))]
        nodes = {}
        for one, other in self.merges[:, :2].astype(int):
            parts.append(parts[one] + parts[other])
            nodes[frozenset(parts[-1])] = [parts[one], parts[other]]
        return nodes

    @property
    def offsets(self):
        """What makes `x @ centres.T + offsets` the largest for the nearest leaf: `(m,)`."""
        return -0.5 * np.sum(self.centres**2, axis=1)

    def leaf_of(self, x):
        """The nearest leaf of each row of `x`, `(n, dim)`: `(n,)` integers."""
        leaves = np.empty(len(x), np.int32)
        for start in range(0, len(x), _BLOCK):
            block = slice(start, start + _BLOCK)
            leaves[block] = (x[block] @ self.centres.T + self.offsets).argmax(axis=1)
        return leaves


def grow(x, seed=0, leaves=None):
    """Finds the tree of some embeddings.

    The leaves are k-means clusters of at most 50,000 random rows, and the two nearest by Ward's
    criterion are merged until one is left. On one thread: the same tree on any machine, and on busy
    cores sooner than on several.

    Args:
        x: float32 `(n, dim)`, L2-normalised, n >= 1.
        seed: integer, defaults to 0.
        leaves: integer in [1, n], or None for a quarter of the rows, 400 at most.

    Returns:
        `ClusterTree`, with fewer leaves where fewer rows differ.
    """
    rng = np.random.default_rng(seed)
    seen = x if len(x) <= _MOST_IMAGES else x[np.sort(rng.permutation(len(x))[:_MOST_IMAGES])]
    leaves = default_leaves(len(x)) if leaves is None else leaves
    kmeans = KMeans(leaves, n_init=1, max_iter=_ROUNDS, random_state=seed)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than leaves
        used = np.unique(kmeans.fit_predict(seen))
    return merge(kmeans.cluster_centers_[used])


def merge(centres):
    """The tree of given leaves, `(m, dim)`: the two nearest by Ward's criterion are merged until
    one is left."""
    merges = linkage(centres, "ward") if len(centres) > 1 else np.empty((0, 4))
    return ClusterTree(np.ascontiguousarray(centres, np.float32), merges)


def default_leaves(count):
    """The leaves of a tree of `count` rows."""
    return max(1, min(LEAVES, count // _PER_LEAF))
