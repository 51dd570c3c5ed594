"""Scores of frozen features: k-NN, linear probe, clustering. Arrays in, floats out.

Needs NumPy, SciPy and scikit-learn alone, so features of any origin can be scored by it.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

_BLOCK = 1024  # test rows whose similarities to all training rows are held at once


def normalize(x):
    """Rows scaled to Euclidean norm 1, float32; a zero row stays zero."""
    x = np.asarray(x, np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def knn_accuracy(train_x, train_y, test_x, test_y, k=20, temperature=0.07):
    """Top-1 accuracy of a weighted k-nearest-neighbour vote on cosine similarity.

    Each of the k most similar training rows votes for its class with weight
    exp(similarity / temperature).

    Args:
        train_x: `(n, dim)` features; rows are L2-normalised here.
        train_y: `(n,)` labels of any kind.
        test_x: `(m, dim)`.
        test_y: `(m,)`.
        k: integer >= 1; all n rows vote when n is smaller. Defaults to 20.
        temperature: float > 0. Defaults to 0.07.

    Returns:
        Float in [0, 1].

    Raises:
        ValueError: for values out of range, or lengths that differ.

    Reference: Wu et al., https://arxiv.org/abs/1805.01978, section 3.4.
    """
    if k < 1:
        raise ValueError(f"`k` should be at least 1. Received: k={k}")
    if temperature <= 0:
        raise ValueError(f"`temperature` should be positive. Received: temperature={temperature}")
    _check_pairs(train_x, train_y, test_x, test_y)
    train_x, test_x = normalize(train_x), normalize(test_x)
    classes, train_y = np.unique(train_y, return_inverse=True)
    k = min(k, len(train_x))
    hits = 0
    for start in range(0, len(test_x), _BLOCK):
        similarity = test_x[start : start + _BLOCK] @ train_x.T  # (block, n)
        nearest = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
        closest = np.take_along_axis(similarity, nearest, axis=1)  # (block, k)
        # Relative to the closest, for exp(1 / temperature) may overflow.
        weights = np.exp((closest - closest.max(axis=1, keepdims=True)) / temperature)
        votes = np.zeros((len(similarity), len(classes)))
        np.add.at(votes, (np.arange(len(votes))[:, None], train_y[nearest]), weights)
        predicted = classes[votes.argmax(axis=1)]
        hits += np.sum(predicted == np.asarray(test_y)[start : start + _BLOCK])
    return float(hits / len(test_x))


def linear_probe(train_x, train_y, test_x, test_y):
    """Top-1 accuracy of a linear classifier on frozen features.

    Multinomial logistic regression of scikit-learn on standardised features, with its default
    regularisation.

    Args:
        train_x: `(n, dim)` features.
        train_y: `(n,)` labels of at least two classes.
        test_x: `(m, dim)`.
        test_y: `(m,)`.

    Returns:
        Float in [0, 1].

    Raises:
        ValueError: for lengths that differ, or a single class.
    """
    _check_pairs(train_x, train_y, test_x, test_y)
    if len(np.unique(train_y)) < 2:
        raise ValueError("A linear probe needs at least two classes. Received one.")
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200, tol=1e-3))
    probe.fit(np.asarray(train_x, np.float32), train_y)
    return float(probe.score(np.asarray(test_x, np.float32), test_y))


def kmeans_clusters(x, num_clusters, seed=0):
    """Clusters of L2-normalised features by scikit-learn's k-means, best of ten starts.

    Args:
        x: `(n, dim)` features.
        num_clusters: integer in [1, n].
        seed: integer, defaults to 0.

    Returns:
        `(n,)` int32.
    """
    return KMeans(num_clusters, n_init=10, random_state=seed).fit_predict(normalize(x))


def clustering_scores(labels, clusters):
    """How well clusters agree with labels, whatever their names and numbers.

    Args:
        labels: `(n,)` labels of any kind, n >= 1.
        clusters: `(n,)` cluster of each sample; there may be more or fewer than classes.

    Returns:
        A dict of floats: `"nmi"`, normalised mutual information (arithmetic mean), in [0, 1];
        `"acc"`, accuracy under the best one-to-one matching of clusters to classes, in [0, 1];
        `"ari"`, adjusted Rand index, 0 by chance and 1 at best.

    Raises:
        ValueError: for lengths that differ, or none.
    """
    labels, clusters = np.asarray(labels), np.asarray(clusters)
    if labels.shape != clusters.shape or labels.ndim != 1 or not len(labels):
        raise ValueError(
            f"`labels` and `clusters` should be of the same length, at least 1. "
            f"Received shapes: {labels.shape} and {clusters.shape}"
        )
    table = contingency_matrix(labels, clusters)
    matched = table[linear_sum_assignment(-table)].sum()
    return {
        "nmi": float(normalized_mutual_info_score(labels, clusters)),
        "acc": float(matched / len(labels)),
        "ari": float(adjusted_rand_score(labels, clusters)),
    }


def score_features(train_x, train_y, test_x, test_y, seed=0):
    """All the scores of one set of frozen features.

    Args:
        train_x: `(n, dim)` features; the other arrays as in `linear_probe`.
        seed: integer, for k-means. Defaults to 0.

    Returns:
        A dict of floats: `knn_top1` (k = 20), `linear_top1`, and `nmi`, `acc`, `ari` of k-means on
        the test features, with as many clusters as the test labels have classes.
    """
    clusters = kmeans_clusters(test_x, len(np.unique(test_y)), seed)
    return {
        "knn_top1": knn_accuracy(train_x, train_y, test_x, test_y),
        "linear_top1": linear_probe(train_x, train_y, test_x, test_y),
        **clustering_scores(test_y, clusters),
    }


def _check_pairs(train_x, train_y, test_x, test_y):
    for name, x, y in (("train", train_x, train_y), ("test", test_x, test_y)):
        if len(x) != len(y) or not len(x):
            raise ValueError(
                f"`{name}_x` and `{name}_y` should be of the same length, at least 1. "
                f"Received: {len(x)} and {len(y)}"
            )
