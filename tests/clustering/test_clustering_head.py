"""The clustering head: its gradient and loss, that it beats k-means where it should, its edges."""

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

from cueco_tf.clustering import head as module
from cueco_tf.clustering.head import ClusteringHead, fit_head
from cueco_tf.evaluation import clustering_scores
from cueco_tf.evaluation.vectors import normalize


@pytest.fixture(autouse=True)
def few_heads(monkeypatch):
    monkeypatch.setattr(module, "_heads", lambda count: 5)


def groups(rows=300):
    """Three groups apart from each other in 8 dimensions: rows and their groups."""
    rng = np.random.default_rng(0)
    group = np.arange(rows) % 3
    return (np.eye(8)[group] + 0.2 * rng.normal(size=(rows, 8))).astype(np.float32), group


def objective(logits, b, weight):
    """SCAN's loss in float64, from the paper's formula."""
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    agreement = np.log(np.sum(p[:b] * p[b:], axis=1)).mean()
    use = p[:b].mean(axis=0)
    return -agreement + weight * np.sum(use * np.log(use))


def test_the_gradient_is_that_of_the_formula():
    rng = np.random.default_rng(0)
    b, heads, count = 5, 2, 4
    logits = rng.normal(size=(2 * b, heads, count))
    found = module._gradient(module._softmax(logits.copy()))
    for which in range(heads):
        for place in np.ndindex(2 * b, count):
            step = np.zeros((2 * b, count))
            step[place] = 1e-5
            above, below = (
                objective(logits[:, which] + sign * step, b, module.ENTROPY_WEIGHT)
                for sign in (1, -1)
            )
            slope = (above - below) / 2e-5
            assert found[place[0], which, place[1]] == pytest.approx(slope, abs=1e-6)


def test_the_loss_is_that_of_the_formula_over_all_neighbours():
    rng = np.random.default_rng(1)
    logits, neighbours = rng.normal(size=(30, 4)), rng.integers(30, size=(30, 3))
    columns = [
        objective(np.concatenate([logits, logits[column]]), 30, module.ENTROPY_WEIGHT)
        for column in neighbours.T
    ]
    found = module._loss(module._softmax(logits.copy()), neighbours)
    assert found == pytest.approx(np.mean(columns), rel=1e-6)


def test_digits_are_sorted_better_than_by_kmeans():
    digits = load_digits()
    kmeans = KMeans(10, n_init=10, random_state=0).fit_predict(normalize(digits.data))
    clusters, probabilities = fit_head(digits.data, 10)(digits.data)
    found, usual = (clustering_scores(digits.target, each) for each in (clusters, kmeans))
    assert found["acc"] > usual["acc"] + 0.03 and found["nmi"] > usual["nmi"] + 0.03
    assert np.bincount(clusters).min() > 100  # of 1797: none is left out
    assert clusters.dtype == np.int64 and probabilities.dtype == np.float32
    assert ((probabilities >= 0.1) & (probabilities <= 1)).all()


def test_a_seed_gives_one_head_and_another_gives_another():
    x, _ = groups(200)
    one, again, other = fit_head(x, 3, seed=1), fit_head(x, 3, seed=1), fit_head(x, 3, seed=2)
    np.testing.assert_array_equal(one.weights, again.weights)
    np.testing.assert_array_equal(one.bias, again.bias)
    assert not np.array_equal(one.losses, other.losses)


def test_the_head_kept_is_the_one_of_the_least_loss():
    x, _ = groups(200)
    head = fit_head(x, 6)  # more clusters than groups, so that heads differ
    own = module._loss(head.probabilities(x), module._neighbours(normalize(x), 6))
    assert own == pytest.approx(head.losses.min(), abs=1e-4)
    assert head.losses.max() > head.losses.min() + 1e-3


def test_many_rows_are_trained_on_by_a_sample_and_sorted_in_blocks(monkeypatch):
    x, group = groups(900)
    monkeypatch.setattr(module, "_MOST_ROWS", 300)
    monkeypatch.setattr(module, "_BLOCK", 3 * 7)
    head = fit_head(x, 3)
    clusters, probabilities = head(x)
    np.testing.assert_array_equal(clusters, head.probabilities(x).argmax(axis=1))
    np.testing.assert_array_equal(probabilities, head.probabilities(x).max(axis=1))
    assert clustering_scores(group, clusters)["acc"] > 0.95


def test_the_length_of_a_row_says_nothing():
    x, _ = groups(200)
    head = fit_head(x, 3)
    np.testing.assert_allclose(head.probabilities(7 * x), head.probabilities(x), atol=1e-4)


@pytest.mark.parametrize("rows, count", [(2, 2), (5, 5), (40, 20)])
def test_few_rows_are_enough(rows, count):
    clusters, probabilities = fit_head(groups(rows)[0], count)(groups(rows)[0])
    assert len(clusters) == rows and set(clusters) <= set(range(count))
    assert np.isfinite(probabilities).all()


def test_rows_that_are_all_alike_have_one_cluster():
    x = np.ones((30, 4), np.float32)
    head = fit_head(x, 3)
    assert isinstance(head, ClusteringHead)
    assert len(set(head(x)[0])) == 1


@pytest.mark.parametrize(
    "x, count, said",
    [
        (np.ones((10, 3)), 1, r"\[2, 10\].*count=1"),
        (np.ones((10, 3)), 11, r"\[2, 10\].*count=11"),
        (np.full((10, 3), np.nan), 2, "finite"),
        (np.ones(10), 2, r"shape: \(10,\)"),
    ],
)
def test_what_cannot_work_is_refused(x, count, said):
    with pytest.raises(ValueError, match=said):
        fit_head(x, count)
