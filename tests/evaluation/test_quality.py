"""Quality without labels, against formulas and scikit-learn."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import silhouette_score

from cueco_tf.evaluation import quality


def test_effective_rank_is_one_on_a_line_and_the_dimension_where_all_are_used():
    assert quality.effective_rank(np.outer(np.arange(1, 9), np.ones(5))) == pytest.approx(1)
    assert quality.effective_rank(np.eye(7)) == pytest.approx(7)
    assert quality.effective_rank(np.zeros((4, 3))) == 0
    x = load_digits().data
    values = np.linalg.svd(x, compute_uv=False)
    shares = values[values > 0] / values.sum()
    expected = np.exp(-np.sum(shares * np.log(shares)))
    assert quality.effective_rank(x) == pytest.approx(expected, rel=1e-6)


def test_the_silhouette_is_that_of_scikit_learn():
    x, labels = load_digits(return_X_y=True)
    expected = silhouette_score(x, labels, metric="cosine")
    assert quality.silhouette(x, labels) == pytest.approx(expected)
    some = np.where(np.arange(len(x)) < 300, -1, labels)  # in no cluster: left out
    expected = silhouette_score(x[300:], labels[300:], metric="cosine")
    assert quality.silhouette(x, some) == pytest.approx(expected)


def test_without_two_clusters_there_is_no_silhouette():
    x = load_digits().data[:50]
    assert quality.silhouette(x, None) is None
    assert quality.silhouette(x, np.zeros(50, int)) is None
    assert quality.silhouette(x, np.arange(50)) is None


def test_large_sets_are_sampled_by_the_seed():
    x = np.random.default_rng(0).normal(size=(6000, 4))
    one, same = (quality.effective_rank(x, seed=3) for _ in range(2))
    assert one == same != quality.effective_rank(x, seed=4)
    groups = np.arange(6000) % 3
    assert quality.silhouette(x, groups, 1) == quality.silhouette(x, groups, 1)
