"""Nearest neighbours, near-duplicates and outliers against scikit-learn and slow counts."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

from cueco_tf.clustering import duplicates, neighbours
from cueco_tf.evaluation import normalize


@pytest.fixture(scope="module")
def pixels():
    images = load_digits().data
    return normalize(images - images.mean(axis=0))


def test_neighbours_are_those_of_scikit_learn(pixels):
    rows, similarities = neighbours.nearest(pixels, 5)
    distances, peer = NearestNeighbors(n_neighbors=5, metric="cosine").fit(pixels).kneighbors()
    np.testing.assert_allclose(similarities, 1 - distances, atol=1e-5)
    assert np.mean(rows == peer) > 0.999
    queries = pixels[:7]
    rows, similarities = neighbours.nearest(pixels, 1, queries)
    np.testing.assert_array_equal(rows[:, 0], range(7))
    np.testing.assert_allclose(similarities, 1, atol=1e-6)


def test_no_row_is_its_own_neighbour_even_among_equals():
    x = normalize(np.repeat(np.eye(2, 8, dtype=np.float32), 6, axis=0))
    rows, similarities = neighbours.nearest(x, 3)
    assert not (rows == np.arange(12)[:, None]).any()
    np.testing.assert_allclose(similarities, 1)
    assert (rows // 6 == np.arange(12)[:, None] // 6).all()


def test_cells_find_the_close_pairs_of_an_exact_search(pixels, monkeypatch):
    rng = np.random.default_rng(0)
    copies = normalize(pixels[:300] + 0.003 * rng.normal(size=(300, 64)))
    x = np.concatenate([pixels, copies])
    exact_rows, exact = neighbours.nearest(x, 1)
    monkeypatch.setattr(neighbours, "EXACT", 100)
    monkeypatch.setattr(neighbours, "PER_CELL", 60)
    rows, similarities = neighbours.nearest(x, 1)
    assert (similarities <= exact + 1e-6).all()
    close = exact[:, 0] > 0.99
    assert close.sum() > 600 - 30
    assert np.mean(rows[close] == exact_rows[close]) > 0.99
    few = neighbours.nearest(x[:150], 5, seed=1)  # cells with hardly anyone in them
    assert few[0].shape == (150, 5) and (few[0] < 150).all()
    others, _ = neighbours.nearest(pixels, 1, copies)
    assert np.mean(others[:, 0] == np.arange(300)) > 0.99


def test_a_row_far_from_all_has_neighbours_too(monkeypatch):
    rng = np.random.default_rng(0)
    middles = np.eye(8, 16, dtype=np.float32)
    x = np.repeat(middles, 60, axis=0) + 0.01 * rng.normal(size=(480, 16)).astype(np.float32)
    x = normalize(np.concatenate([x, -middles[:1] - 0.3 * middles[1:2]]))
    _, exact = neighbours.nearest(x, 5)
    monkeypatch.setattr(neighbours, "EXACT", 100)
    monkeypatch.setattr(neighbours, "PER_CELL", 6)
    rows, similarities = neighbours.nearest(x, 5)
    assert (rows >= 0).all() and (similarities[480] > -0.5).all()
    np.testing.assert_allclose(similarities, (x[:, None] * x[rows]).sum(axis=-1), atol=1e-5)
    assert duplicates.outliers(similarities)[0] == duplicates.outliers(exact)[0] == 480


def test_groups_are_the_connected_components():
    # 0-1-2 in a chain, 5-6 a pair, 3 and 4 alone, 7 joined to 0 from its side only.
    rows = np.array([[1], [2], [1], [0], [0], [6], [5], [0]])
    similarities = np.array([[0.99], [0.98], [0.98], [0.5], [0.9], [1.0], [1.0], [0.97]])
    found = duplicates.groups(rows, similarities, 0.97)
    assert [group.tolist() for group in found] == [[0, 1, 2, 7], [5, 6]]
    assert duplicates.groups(rows, similarities, 1.1) == []
    none = duplicates.groups(np.full((3, 1), -1), np.full((3, 1), -1.0), -1.0)
    assert none == []


def test_a_made_copy_is_below_the_threshold_and_other_digits_are_not(pixels):
    rng = np.random.default_rng(0)
    copies = normalize(pixels[:40] + 0.005 * rng.normal(size=(40, 64)))
    rows, similarities = neighbours.nearest(np.concatenate([pixels, copies]), 10)
    found = duplicates.groups(rows, similarities, duplicates.threshold(similarities))
    pairs = {tuple(group) for group in found}
    assert {(i, len(pixels) + i) for i in range(40)} <= pairs
    assert len(pairs) < 60


def test_what_is_like_nothing_is_an_outlier(pixels):
    strange = normalize(np.random.default_rng(0).normal(size=(5, 64)))
    x = np.concatenate([pixels, strange])
    _, similarities = neighbours.nearest(x, 10)
    found = duplicates.outliers(similarities)
    assert set(found[:5]) == set(range(len(pixels), len(x)))
    distances = 1 - similarities.mean(axis=1)
    first, third = np.quantile(distances, (0.25, 0.75))
    assert set(found) == set(np.flatnonzero(distances > third + 1.5 * (third - first)))
    assert (np.diff(distances[found]) <= 0).all()
