"""Clusters of embeddings, described: sizes, spreads, ranks, what is next, what belongs nowhere."""

import dataclasses
from functools import cached_property

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.sparse import csr_array

from cueco_tf.evaluation.vectors import normalize

OTHER = -1  # the cluster of what belongs to none
_BLOCK = 8192  # rows whose similarities to all centroids are held at once
_MOST_COSINES = 2**25  # of such a block, where there are very many centroids
_FENCE = 1.5  # quartile ranges beyond the third quartile: Tukey's box plot
_LEAST_MEMBERS = 8  # below, a cluster has no quartiles worth the name


@dataclasses.dataclass(frozen=True)
class Clusters:
    """L clusters of n images.

    `assignments` is `(n,)` int32, `OTHER` for an image that is in none; `centroids` float32
    `(L, dim)`, L2-normalised. Of each image, `similarities` `(n,)` are its cosines to the centroid
    of its cluster (of an image in none, to the nearest); `nexts` `(n,)` int32 is the most similar
    other cluster and `next_similarities` `(n,)` its cosine to that; -1 and NaN where L is 1.
    """

    assignments: np.ndarray
    centroids: np.ndarray
    similarities: np.ndarray
    nexts: np.ndarray
    next_similarities: np.ndarray

    def __len__(self):
        return len(self.centroids)

    @cached_property
    def sizes(self):
        """Images of each cluster, `(L,)`."""
        return np.bincount(self.assignments[self.assignments >= 0], minlength=len(self))

    @cached_property
    def used(self):
        """The clusters that have images, the largest first."""
        order = np.argsort(-self.sizes, kind="stable")
        return order[: np.count_nonzero(self.sizes)]

    @cached_property
    def spreads(self):
        """The mean squared distance of a cluster's images to its centroid, `(L,)` float32; NaN
        where it is empty."""
        own = self.assignments >= 0
        total = np.bincount(
            self.assignments[own], 2.0 - 2.0 * self.similarities[own], minlength=len(self)
        )
        with np.errstate(invalid="ignore"):
            return (total / self.sizes).astype(np.float32)

    @cached_property
    def members(self):
        """A list of L index arrays: each cluster's images, the most similar to its centroid first.
        That first one is the medoid: no other has a smaller mean squared distance to the rest."""
        order = np.lexsort((-self.similarities, self.assignments))
        others = np.count_nonzero(self.assignments < 0)
        return np.split(order[others:], np.cumsum(self.sizes)[:-1])

    @cached_property
    def others(self):
        """The images in no cluster, the most similar to the nearest one first."""
        found = np.flatnonzero(self.assignments < 0)
        return found[np.argsort(-self.similarities[found], kind="stable")]

    @cached_property
    def ranks(self):
        """The place of each image among the members of its cluster, from 1, `(n,)`; also of those
        in none, among themselves."""
        ranks = np.empty(len(self.assignments), np.int64)
        for each in (*self.members, self.others):
            ranks[each] = np.arange(1, len(each) + 1)
        return ranks

    @cached_property
    def alike(self):
        """An order of the used clusters in which neighbours are alike."""
        return self.used[side_by_side(self.centroids[self.used])]


def side_by_side(rows):
    """An order of the rows in which neighbours are alike."""
    if len(rows) < 3:
        return np.arange(len(rows))
    return leaves_list(linkage(rows, "average", optimal_ordering=True))


def describe(x, centroids, assignments=None):
    """Describes clusters, and assigns images to them where that has not been done.

    Args:
        x: float32 `(n, dim)`, L2-normalised.
        centroids: `(L, dim)`, L2-normalised.
        assignments: `(n,)` integers in [0, L), or None for the most similar centroid.

    Returns:
        `Clusters`.
    """
    nearest, nexts = np.empty((2, len(x)), np.int32)
    similarities, next_similarities = np.empty((2, len(x)), np.float32)
    rows = max(1, min(_BLOCK, _MOST_COSINES // len(centroids)))
    for start in range(0, len(x), rows):
        block = slice(start, start + rows)
        cosine = x[block] @ centroids.T  # (block, L)
        own = cosine.argmax(axis=1) if assignments is None else assignments[block]
        row = np.arange(len(cosine))
        nearest[block], similarities[block] = own, cosine[row, own]
        cosine[row, own] = -np.inf
        nexts[block] = cosine.argmax(axis=1)
        next_similarities[block] = cosine[row, nexts[block]]
    if len(centroids) == 1:
        nexts[:], next_similarities[:] = -1, np.nan
    return Clusters(nearest, centroids, similarities, nexts, next_similarities)


def describe_groups(x, groups):
    """Describes groups of images, numbered anew from the largest to the smallest.

    Args:
        x: float32 `(n, dim)`, L2-normalised.
        groups: `(n,)` integers >= 0; groups without an image are left out.

    Returns:
        `(clusters, former)`: `Clusters`, each centroid the direction of its images' mean, and the
        `(L,)` former numbers.
    """
    former, groups = np.unique(groups, return_inverse=True)
    order = np.argsort(-np.bincount(groups), kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    groups = place[groups]
    return describe(x, normalize(means(x, groups, len(order))), groups), former[order]


def means(x, groups, count):
    """The mean of each group's rows: float64 `(count, dim)`; 0 for a group without any."""
    total = np.zeros((count, x.shape[1]))
    for start in range(0, len(x), _BLOCK):
        rows = x[start : start + _BLOCK].astype(np.float64)
        places = groups[start : start + _BLOCK], np.arange(len(rows))
        total += csr_array((np.ones(len(rows)), places), shape=(count, len(rows))) @ rows
    return total / np.maximum(np.bincount(groups, minlength=count), 1)[:, None]


def set_apart(clusters, least=None):
    """Takes out of their clusters the images that belong nowhere.

    Args:
        clusters: `Clusters`.
        least: float, the least similarity to the centroid; or None for the fence of a box plot,
            from the data of each cluster: a distance (1 - similarity) more than 1.5 quartile ranges
            above the third quartile. Clusters of fewer than 8 then lose none.

    Returns:
        `Clusters`, in which these are `OTHER`.
    """
    if least is None:
        out = 1 - clusters.similarities > fences(clusters)[clusters.assignments]
    else:
        out = clusters.similarities < least
    return dataclasses.replace(
        clusters, assignments=np.where(out, np.int32(OTHER), clusters.assignments)
    )


def fences(clusters):
    """How far from its centroid an image of each cluster may be: `set_apart`'s fence.

    Args:
        clusters: `Clusters`.

    Returns:
        `(L,)` distances (1 - similarity); infinity for clusters of fewer than 8.
    """
    found = np.full(len(clusters), np.inf)
    for c, members in enumerate(clusters.members):
        if len(members) >= _LEAST_MEMBERS:
            first, third = np.quantile(1 - clusters.similarities[members], (0.25, 0.75))
            found[c] = third + _FENCE * (third - first)
    return found
