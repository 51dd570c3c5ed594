"""How good features are, asked without labels."""

import warnings

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_limits

from cueco_tf.evaluation.vectors import normalize

_CLUSTERS, _PER_CLUSTER = 20, 10  # of `label_free_quality`, and rows for each at least
_SAMPLED = 5_000  # rows for the rank
_COMPARED = 2_000  # rows for the silhouette, whose cost grows with their square


def effective_rank(x, seed=0):
    """How many directions the features use: the exponential of the entropy of their singular
    values' shares. 1 when all lie on one line, the number of dimensions when all are used alike; it
    falls when an encoder collapses.

    Args:
        x: `(n, dim)` features, of which 5,000 random rows are used.
        seed: integer, defaults to 0.

    Returns:
        Float in [1, min(n, dim)]; 0 for features that are all zero.

    Reference: Garrido et al. 2023, RankMe, https://arxiv.org/abs/2210.02885.
    """
    values = np.linalg.svd(_sample(len(x), _SAMPLED, seed, x), compute_uv=False)
    total = values.sum(dtype=np.float64)
    if not total:
        return 0.0
    shares = values[values > 0] / total
    return float(np.exp(-np.sum(shares * np.log(shares), dtype=np.float64)))


def silhouette(x, clusters, seed=0):
    """How well clusters are set apart: the mean silhouette by cosine distance, of a sample.

    Args:
        x: `(n, dim)` features.
        clusters: `(n,)` integers, negative for rows that are in none and are left out; or None.
        seed: integer, defaults to 0.

    Returns:
        Float in [-1, 1]: 1 where each row is much nearer to its own cluster than to the next, 0
        where clusters run into each other. None without two clusters, or with as many as rows.

    Reference: Rousseeuw 1987.
    """
    if clusters is None:
        return None
    x, clusters = _sample(len(x), _COMPARED, seed, np.asarray(x), np.asarray(clusters))
    x, clusters = x[clusters >= 0], clusters[clusters >= 0]
    if not 1 < len(np.unique(clusters)) < len(clusters):
        return None
    return float(silhouette_score(x, clusters, metric="cosine"))


def label_free_quality(x, seed=0):
    """The quality of features that no label is known of.

    The silhouette is that of k-means with 20 clusters, whatever clusters a method learns, so that
    runs can be compared. On one thread, to the same numbers each time.

    Args:
        x: `(n, dim)` features, of which 2,000 random rows are used.
        seed: integer, defaults to 0.

    Returns:
        A dict of floats: `effective_rank` and, for 40 rows and more that are not all alike,
        `silhouette`.
    """
    x = normalize(_sample(len(x), _COMPARED, seed, x))
    count = min(_CLUSTERS, len(x) // _PER_CLUSTER)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer rows that differ than clusters
        found = {"effective_rank": effective_rank(x, seed)}
        if count >= 4:
            clusters = KMeans(count, n_init=1, random_state=seed).fit_predict(x)
            found["silhouette"] = silhouette(x, clusters, seed)
    return {name: value for name, value in found.items() if value is not None}


def _sample(count, most, seed, *arrays):
    """The same random rows of each array; all where there are no more."""
    if count > most:
        rows = np.sort(np.random.default_rng(seed).permutation(count)[:most])
        arrays = [array[rows] for array in arrays]
    return arrays[0] if len(arrays) == 1 else arrays
