"""Near-duplicates, leaks and outliers, from nearest neighbours."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_FENCE = 1.5  # quartile ranges beyond the third quartile
_SHARE = 0.1  # of the usual distance; docs/clusters.md has what other shares found
_LEAST = 1e-6  # a distance that is rounding alone


def threshold(similarities):
    """The cosine above which two images count as near-duplicates, from the data: a tenth of the
    usual (median) distance to the last of some neighbours.

    Args:
        similarities: `(n, k)`, cosines of each image to its k nearest neighbours, best first.

    Returns:
        Float below 1.
    """
    return float(1 - max(_SHARE * np.median(1 - similarities[:, -1]), _LEAST))


def groups(rows, similarities, threshold):
    """Images joined by pairs that are at least so similar.

    Args:
        rows: `(n, k)` integers: the nearest neighbours of each image, -1 for none.
        similarities: `(n, k)`.
        threshold: float, a cosine.

    Returns:
        A list of index arrays of two images or more, each in order, the largest first.
    """
    one, place = np.nonzero((similarities >= threshold) & (rows >= 0))
    other = rows[one, place]
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(len(rows),) * 2)
    _, group = connected_components(graph, directed=False)
    joined = np.flatnonzero(np.bincount(group)[group] > 1)
    joined = joined[np.argsort(group[joined], kind="stable")]
    starts = np.flatnonzero(np.diff(group[joined])) + 1
    found = np.split(joined, starts) if len(joined) else []
    return sorted(found, key=lambda part: (-len(part), part[0]))


def outliers(similarities):
    """The images that are far from everything, by a box plot's fence of how far all are.

    Args:
        similarities: `(n, k)`, cosines of each image to its nearest neighbours.

    Returns:
        The indices of those whose mean distance (1 - cosine) lies more than 1.5 quartile ranges
        above the third quartile, the farthest first.
    """
    distances = 1 - similarities.mean(axis=1)
    first, third = np.quantile(distances, (0.25, 0.75))
    found = np.flatnonzero(distances > third + _FENCE * (third - first))
    return found[np.argsort(-distances[found], kind="stable")]
