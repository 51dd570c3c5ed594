"""How well clusters agree with labels."""

import joblib
import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix
from threadpoolctl import threadpool_limits

from cueco_tf.data.labels import labelled
from cueco_tf.evaluation.vectors import normalize

CLUSTERINGS = 10
# The best of three is often a poor one: on features of the digits its inertia was 0.6 to 1.3 %
# above the least, of ten 0.2 % at most, which cost up to 3 points of NMI.
_STARTS = 10


def kmeans_scores(x, labels, num_clusters, seed=0):
    """How well k-means on L2-normalised features agrees with labels.

    One k-means on the features of a hard set differs from the next as much as one training from
    another, so each score is the mean over `CLUSTERINGS` of them, by scikit-learn, the best of ten
    starts each. They run beside each other, each on one thread: to the same numbers on any machine,
    and two threads of one took up to ten times as long as one where others use the processor.

    Args:
        x: `(n, dim)` features.
        labels: `(n,)` labels, numbers or text; samples of label -1 are left out.
        num_clusters: integer in [1, n].
        seed: integer, defaults to 0.

    Returns:
        A dict of floats: the `"nmi"`, `"acc"` and `"ari"` of `clustering_scores`.
    """
    x, labels = labelled(normalize(x), labels, "test")
    seeds = range(seed, seed + CLUSTERINGS)
    with threadpool_limits(1):
        jobs = joblib.Parallel(n_jobs=-1, prefer="threads")
        found = jobs(joblib.delayed(_clusters)(x, num_clusters, each) for each in seeds)
    scores = [clustering_scores(labels, clusters) for clusters in found]
    return {name: float(np.mean([each[name] for each in scores])) for name in scores[0]}


def _clusters(x, num_clusters, seed):
    with threadpool_limits(1):  # OpenMP's limit is that of the thread which sets it
        return KMeans(num_clusters, n_init=_STARTS, random_state=seed).fit_predict(x)


def clustering_scores(labels, clusters):
    """How well clusters agree with labels, whatever their names and numbers.

    Args:
        labels: `(n,)` labels, numbers or text, n >= 1; samples of label -1 are left out.
        clusters: `(n,)` cluster of each sample; there may be more or fewer than classes.

    Returns:
        A dict of floats: `"nmi"`, normalised mutual information (arithmetic mean), in [0, 1];
        `"acc"`, accuracy under the best one-to-one matching of clusters to classes, in [0, 1];
        `"ari"`, adjusted Rand index, 0 by chance and 1 at best.

    Raises:
        ValueError: for lengths that differ, none, or labels of another kind.
    """
    clusters = np.asarray(clusters)
    if clusters.ndim != 1:
        raise ValueError(f"`clusters` should be (n,). Received shape: {clusters.shape}")
    clusters, labels = labelled(clusters, labels, "clustered")
    table = contingency_matrix(labels, clusters)
    matched = table[linear_sum_assignment(-table)].sum()
    return {
        "nmi": float(normalized_mutual_info_score(labels, clusters)),
        "acc": float(matched / len(labels)),
        "ari": float(adjusted_rand_score(labels, clusters)),
    }
