"""Scores of frozen features: k-NN, linear probe, clustering. Arrays in, floats out.

Needs NumPy, SciPy and scikit-learn alone, so features of any origin can be scored by it.
"""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from cueco_tf.data.labels import labelled
from cueco_tf.evaluation.clustering import kmeans_scores
from cueco_tf.evaluation.vectors import check_features, normalize

# A solver of our own (L-BFGS on whitened features) took between 1.2 times and a fifth of
# scikit-learn's time at 20,000 x 512 with 100 classes: too little to be worth having.
_SOLVER = dict(max_iter=200, tol=1e-3)
REGULARIZATIONS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
# Multiplications of an iteration: below, one thread took less time than two on idle cores (a
# fifteenth at 3,000 x 128 with 20 classes, 0.7 of it at 20,000 x 512 with 100), and far less on
# busy ones; 50,000 x 512 with 100 were level.
_SMALL = 2e9
_HELD_OUT = 0.1
_BLOCK = 2**25  # similarities that are held at once


def knn_accuracy(train_x, train_y, test_x, test_y, k=20, temperature=0.07):
    """Top-1 accuracy of a weighted k-nearest-neighbour vote on cosine similarity.

    Each of the k most similar training rows votes for its class with weight
    exp(similarity / temperature).

    Args:
        train_x: `(n, dim)` features; rows are L2-normalised here.
        train_y: `(n,)` labels, numbers or text; those of -1 have no vote.
        test_x: `(m, dim)`.
        test_y: `(m,)`; those of -1 are not scored.
        k: integer >= 1; all n rows vote when n is smaller. Defaults to 20.
        temperature: float > 0. Defaults to 0.07.

    Returns:
        Float in [0, 1].

    Raises:
        ValueError: for values out of range, lengths that differ, features that overflow float32,
            or labels of another kind.

    Reference: Wu et al., https://arxiv.org/abs/1805.01978, section 3.4.
    """
    return _knn_accuracies(train_x, train_y, test_x, test_y, (k,), temperature)[0]


def _knn_accuracies(train_x, train_y, test_x, test_y, ks, temperature=0.07):
    """`knn_accuracy` for several k, from one search."""
    if min(ks) < 1:
        raise ValueError(f"`k` should be at least 1. Received: k={min(ks)}")
    if temperature <= 0:
        raise ValueError(f"`temperature` should be positive. Received: temperature={temperature}")
    train_x, train_y, test_x, test_y = checked(train_x, train_y, test_x, test_y)
    train_x, test_x = normalize(train_x), normalize(test_x)
    classes, train_y = np.unique(train_y, return_inverse=True)
    ks = [min(k, len(train_x)) for k in ks]
    most, rows = max(ks), max(1, _BLOCK // len(train_x))
    hits = np.zeros(len(ks))
    for start in range(0, len(test_x), rows):
        similarity = test_x[start : start + rows] @ train_x.T  # (rows, n)
        nearest = np.argpartition(similarity, len(train_x) - most, axis=1)[:, -most:]
        closest = np.take_along_axis(similarity, nearest, axis=1)  # (rows, most)
        order = np.argsort(-closest, axis=1)
        nearest = np.take_along_axis(nearest, order, axis=1)
        closest = np.take_along_axis(closest, order, axis=1)
        # Relative to the closest, for exp(1 / temperature) may overflow.
        weights = np.exp((closest - closest[:, :1]) / temperature)
        for place, k in enumerate(ks):
            votes = np.zeros((len(similarity), len(classes)))
            voters = (np.arange(len(votes))[:, None], train_y[nearest[:, :k]])
            np.add.at(votes, voters, weights[:, :k])
            predicted = classes[votes.argmax(axis=1)]
            hits[place] += np.sum(predicted == test_y[start : start + rows])
    return [float(count / len(test_x)) for count in hits]


def choose_regularization(x, y, seed=0):
    """The inverse regularisation strength `C` that suits a linear probe on these features.

    Classifiers fitted to nine tenths of the samples are compared on the tenth, from strong
    regularisation to weak, until weaker is worse.

    Args:
        x: `(n, dim)` training features.
        y: `(n,)` labels of at least two classes, -1 where unknown.
        seed: integer, decides which tenth is held out. Defaults to 0.

    Returns:
        One of `REGULARIZATIONS`.

    Raises:
        ValueError: for lengths that differ, or a single class.
    """
    x, y = labelled(check_features(x, "x"), y, "training")
    _check_classes(y)
    smallest = np.unique(y, return_counts=True)[1].min()
    fit_x, held_x, fit_y, held_y = train_test_split(
        x,
        y,
        test_size=_HELD_OUT,
        random_state=seed,
        stratify=y if smallest >= 1 / _HELD_OUT else None,
    )
    scaler = StandardScaler().fit(fit_x)
    fit_x, held_x = scaler.transform(fit_x), scaler.transform(held_x)
    if len(np.unique(fit_y)) < 2:
        return REGULARIZATIONS[0]
    probe = LogisticRegression(**_SOLVER, warm_start=True)
    chosen, best = REGULARIZATIONS[0], -1.0
    for C in REGULARIZATIONS:
        accuracy = _fit(probe.set_params(C=C), fit_x, fit_y).score(held_x, held_y)
        if accuracy < best:
            break
        if accuracy > best:
            chosen, best = C, accuracy
    return chosen


def linear_probe(train_x, train_y, test_x, test_y, C=None):
    """Top-1 accuracy of a linear classifier on frozen features.

    Multinomial logistic regression by scikit-learn on standardised features.

    Args:
        train_x: `(n, dim)` features.
        train_y: `(n,)` labels of at least two classes, -1 where unknown.
        test_x: `(m, dim)`.
        test_y: `(m,)`.
        C: float > 0, the inverse regularisation strength, or None for what
            `choose_regularization` finds on the training samples.

    Returns:
        Float in [0, 1].

    Raises:
        ValueError: for lengths that differ, or a single class.
    """
    train_x, train_y, test_x, test_y = checked(train_x, train_y, test_x, test_y)
    _check_classes(train_y)
    C = choose_regularization(train_x, train_y) if C is None else C
    scaler = StandardScaler()
    train_x = scaler.fit_transform(train_x)
    probe = _fit(LogisticRegression(**_SOLVER, C=C), train_x, train_y)
    return float(probe.score(scaler.transform(test_x), test_y))


def score_features(train_x, train_y, test_x, test_y, seed=0):
    """All the scores of one set of frozen features.

    Args:
        train_x: `(n, dim)` features; the other arrays as in `linear_probe`.
        seed: integer, for k-means. Defaults to 0.

    Returns:
        A dict of floats: `knn_top1` (k = 20), `knn200_top1`, `linear_top1` and its `linear_C`, and
        `nmi`, `acc`, `ari` of k-means on the test features (`kmeans_scores`), with as many clusters
        as the labels have classes.

    Raises:
        ValueError: for lengths that differ, a single class, or fewer test samples than classes.
    """
    scores = score_neighbours_and_clusters(train_x, train_y, test_x, test_y, seed)
    C = choose_regularization(train_x, train_y, seed)
    linear = linear_probe(train_x, train_y, test_x, test_y, C)
    return {**scores, "linear_top1": linear, "linear_C": C}


def score_neighbours_and_clusters(train_x, train_y, test_x, test_y, seed=0):
    """The scores of `score_features` that need no classifier."""
    train_x, train_y, test_x, test_y = checked(train_x, train_y, test_x, test_y)
    classes = len(np.union1d(train_y, test_y))
    if len(test_x) < classes:
        raise ValueError(f"Received {len(test_x)} test samples, fewer than the {classes} classes.")
    knn20, knn200 = _knn_accuracies(train_x, train_y, test_x, test_y, (20, 200))
    return {
        "knn_top1": knn20,
        "knn200_top1": knn200,
        **kmeans_scores(test_x, test_y, classes, seed),
    }


def _fit(probe, x, y):
    """Fits the classifier; that it may stop at its limit of steps is known and harmless here."""
    # The solver's vectors are short: threads wait for each other at every one.
    threads = 1 if x.size * len(np.unique(y)) < _SMALL else None
    with threadpool_limits(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return probe.fit(x, y)


def _check_classes(y):
    if len(np.unique(y)) < 2:
        raise ValueError("A linear probe needs at least two classes, from 0 on. Received one.")


def checked(train_x, train_y, test_x, test_y):
    """Features and labels ready to be scored.

    Returns:
        The four arrays, features in float32, without samples whose labels are unknown.

    Raises:
        ValueError: for features or labels that cannot be scored, or do not fit each other.
    """
    train_x, test_x = check_features(train_x, "train_x"), check_features(test_x, "test_x")
    if train_x.shape[1] != test_x.shape[1]:
        raise ValueError(
            f"`train_x` and `test_x` should have rows of one length. "
            f"Received: {train_x.shape[1]} and {test_x.shape[1]}"
        )
    train = labelled(train_x, train_y, "train")
    if len(train[0]) < len(train_x) and len(np.unique(train[1])) < 2:
        raise ValueError(
            "`train_y` holds a single class and -1, which means unknown: number classes from 0 on."
        )
    return *train, *labelled(test_x, test_y, "test")
