"""Spherical k-means: clusters whose middles are directions, by faiss or scikit-learn."""

import warnings

import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning

from cueco_tf.clustering import limits
from cueco_tf.clustering.describe import describe
from cueco_tf.evaluation.vectors import normalize

POINTS = 256  # rows a cluster that k-means sees; more change it little (faiss's own default)
_BATCH = 8192  # rows of a step of scikit-learn's


def spherical_kmeans(x, count, seed=0, rounds=25):
    """Finds clusters by the cosine.

    By faiss; where it is not installed, up to 1,000 clusters by scikit-learn's
    `MiniBatchKMeans`, whose middles are scaled to directions at the end.

    Args:
        x: float32 `(n, dim)`, L2-normalised, n >= 1. Of more than 256 rows a cluster, so many
            random ones are used.
        count: integer in [1, n].
        seed: integer >= 0, defaults to 0.
        rounds: integer >= 1. Defaults to 25.

    Returns:
        float32 `(L, dim)`, L2-normalised, of the cluster with the most rows of `x` first. L is
        less than `count` where some hold no row, as when fewer rows differ.

    Raises:
        NoFaissError: for more than 1,000 clusters without faiss.
    """
    limits.check_clusters(count)
    seen = x
    if len(x) > POINTS * count:
        chosen = np.random.default_rng(seed).choice(len(x), POINTS * count, replace=False)
        seen = x[np.sort(chosen)]
    fit = _by_faiss if limits.has_faiss() else _by_sklearn
    centroids = normalize(fit(np.ascontiguousarray(seen), count, seed, rounds))
    sizes = np.bincount(describe(x, centroids).assignments, minlength=len(centroids))
    order = np.argsort(-sizes, kind="stable")
    return centroids[order[: np.count_nonzero(sizes)]]


def _by_faiss(x, count, seed, rounds):
    import faiss

    kmeans = faiss.Kmeans(
        x.shape[1],
        count,
        niter=rounds,
        seed=seed % 2**31,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=POINTS,
    )
    kmeans.train(x)
    return kmeans.centroids


def _by_sklearn(x, count, seed, rounds):
    kmeans = MiniBatchKMeans(count, n_init=1, max_iter=rounds, batch_size=_BATCH, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than clusters
        return kmeans.fit(x).cluster_centers_
