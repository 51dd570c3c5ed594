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
    return join(one, rows[one, place])


def join(one, other):
    """What pairs join: the connected components.

    Args:
        one, other: `(pairs,)` integers >= 0.

    Returns:
        As `groups`.
    """
    if not len(one):
        return []
    nodes, places = np.unique(np.concatenate([one, other]), return_inverse=True)
    graph = coo_array((np.ones(len(one), bool), places.reshape(2, -1)), shape=(len(nodes),) * 2)
    _, group = connected_components(graph, directed=False)
    order = np.argsort(group, kind="stable")
    found = np.split(nodes[order], np.flatnonzero(np.diff(group[order])) + 1)
    return sorted(found, key=lambda part: (-len(part), part[0]))


def outliers(similarities):
    """The images that are far from everything, by a box plot's fence of how far all are.

    Args:
        similarities: `(n, k)`, cosines of each image to its nearest neighbours.

    Returns:
        The indices of those whose mean distance (1 - cosine) lies more than 1.5 quartile ranges
        above the third quartile, the farthest first.
    """
    return far(1 - similarities.mean(axis=1))


def far(distances):
    """`outliers` by the mean distance of each image, `(n,)`."""
    first, third = np.quantile(distances, (0.25, 0.75))
    found = np.flatnonzero(distances > third + _FENCE * (third - first))
    return found[np.argsort(-distances[found], kind="stable")]
