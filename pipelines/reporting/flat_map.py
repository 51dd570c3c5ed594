"""Embeddings on a map in two dimensions."""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from cueco_tf.evaluation.vectors import normalize

PCA_DIMENSIONS = 50
_AMID, _PLACED = 5, 65_536  # neighbours on the map that place the rest, and rows at once


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


def place_all(h, mapped, xy):
    """Places all embeddings on a map of some: each amid the nearest of those, the nearer the more.

    Args:
        h: float32 `(n, features)`, L2-normalised.
        mapped: `(m,)` indices of the rows on the map.
        xy: float32 `(m, 2)`, their places, which they keep.

    Returns:
        float32 `(n, 2)`.
    """
    places = np.empty((len(h), 2), np.float32)
    rest = np.setdiff1d(np.arange(len(h)), mapped)
    search = NearestNeighbors(n_neighbors=min(_AMID, len(mapped)), algorithm="brute")
    search.fit(h[mapped])
    for start in range(0, len(rest), _PLACED):
        block = rest[start : start + _PLACED]
        distances, near = search.kneighbors(h[block])
        weights = 1 / (distances**2 + 1e-6)
        weights /= weights.sum(axis=1, keepdims=True)
        places[block] = np.einsum("nk,nkd->nd", weights, xy[near])
    places[mapped] = xy
    return places
