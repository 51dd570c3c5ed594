"""Clusters, neighbours and near-duplicates of tables against what is held in memory."""

import itertools

import numpy as np
import pytest
from sklearn.datasets import load_digits

from cueco_tf.clustering import (
    describe,
    duplicates,
    kmeans,
    limits,
    many,
    many_neighbours,
    neighbours,
)
from cueco_tf.evaluation import clustering_scores, normalize


class Table:
    """Rows in blocks of uneven lengths, one of them empty."""

    def __init__(self, x):
        self.rows, self.dim = x.shape
        self._x = x

    def blocks(self, columns):
        ends = [0, 100, 100, 1000, self.rows]
        for start, stop in itertools.pairwise(ends):
            rows = range(start, stop)
            block = {"paths": [f"{i:04d}.png" for i in rows], "embeddings": self._x[start:stop]}
            yield {name: block[name] for name in columns}


@pytest.fixture(scope="module")
def digits():
    """1,797 digits and near-copies of a hundred, of any length."""
    x = load_digits().data - load_digits().data.mean(axis=0)
    noise = np.random.default_rng(0).normal(size=(100, 64))
    return np.concatenate([x, x[:100] + 0.1 * noise]).astype(np.float32)


def test_rows_are_drawn_alike(digits):
    table, unit = Table(digits), normalize(digits)
    numbers, x = many.draw(table, 5000)
    np.testing.assert_array_equal(numbers, np.arange(1897))
    np.testing.assert_array_equal(x, unit)
    counts = np.zeros(1897)
    for seed in range(200):
        numbers, x = many.draw(table, 500, seed)
        assert len(set(numbers)) == 500 and (np.diff(numbers) > 0).all()
        np.testing.assert_array_equal(x, unit[numbers])
        counts[numbers] += 1
    share = 500 / 1897  # each mean within five standard errors
    assert (np.abs(counts / 200 - share) < 5 * np.sqrt(share * (1 - share) / 200)).all()


@pytest.mark.parametrize("by", ["faiss", "scikit-learn"])
def test_all_are_sorted_as_the_sample_says(digits, by, monkeypatch):
    if by == "faiss":
        pytest.importorskip("faiss")
    monkeypatch.setattr(limits, "has_faiss", lambda: by == "faiss")
    monkeypatch.setattr(many, "_LEAST_SAMPLE", 900)
    table, unit = Table(digits), normalize(digits)
    found = many.cluster_many(table, 12, other=0.2)
    assert len(found.numbers) == 1897 and len(found) == found.wanted == 12
    centroids = found.rule.centroids
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, rtol=1e-6)
    nearest = describe.describe(unit, centroids)
    # A fixed point: each middle is the direction of its images' mean.
    means = normalize(describe.means(unit, nearest.assignments, 12))
    assert (means * centroids).sum(axis=1).min() > (0.999 if by == "faiss" else 0.97)
    assert (np.diff(nearest.sizes) <= 0).all()  # numbered by size
    labels = np.concatenate([load_digits().target, load_digits().target[:100]])
    assert clustering_scores(labels, nearest.assignments)["acc"] > 0.65

    tally, blocks = many.Tally(12), list(found.sort(table))
    for paths, clusters in blocks:
        tally.add(paths, clusters)
    peer = describe.set_apart(nearest, 0.2)
    assert 0 < len(peer.others) == tally.others
    for name in ("assignments", "nexts"):
        own = np.concatenate([getattr(clusters, name) for _, clusters in blocks])
        np.testing.assert_array_equal(own, getattr(peer, name))
    similarities = np.concatenate([clusters.similarities for _, clusters in blocks])
    np.testing.assert_allclose(similarities, peer.similarities, atol=1e-6)
    paths = [path for paths, _ in blocks for path in paths]
    assert paths == [f"{i:04d}.png" for i in range(1897)]
    np.testing.assert_array_equal(tally.sizes, peer.sizes)
    np.testing.assert_allclose(tally.spreads, peer.spreads, rtol=1e-5)
    assert tally.medoids == [f"{members[0]:04d}.png" for members in peer.members]
    np.testing.assert_array_equal(found.rule(digits)[0], nearest.assignments)
    again = many.cluster_many(table, 12, other=0.2)
    np.testing.assert_array_equal(again.rule.centroids, centroids)


def test_what_is_usual_in_a_cluster_comes_from_the_sample(digits):
    pytest.importorskip("faiss")
    found = many.cluster_many(Table(digits), 10, other="auto")
    unit = normalize(digits)
    peer = describe.set_apart(describe.describe(unit, found.rule.centroids))
    np.testing.assert_array_equal(found.describe(unit).assignments, peer.assignments)
    assert len(peer.others)


def test_fewer_clusters_than_asked_for_where_fewer_rows_differ(monkeypatch):
    x = np.repeat(np.eye(4, 8, dtype=np.float32), 500, axis=0)
    for there in (True, False):
        monkeypatch.setattr(limits, "has_faiss", lambda there=there: there)
        if there:
            pytest.importorskip("faiss")
        centroids = kmeans.spherical_kmeans(x, 9)
        assert len(centroids) == 4
        assert set(centroids.argmax(axis=1)) == set(range(4))
    with pytest.raises(many.ManyError, match="the encoder has collapsed"):
        many.cluster_many(Table(np.ones((1200, 8), np.float32)), 3)


def test_many_clusters_without_faiss_are_refused_in_one_line(digits, monkeypatch):
    monkeypatch.setattr(limits, "has_faiss", lambda: False)
    with pytest.raises(limits.NoFaissError, match=r"1,001 clusters needs faiss: pip install"):
        many.cluster_many(Table(digits), 1001)


def test_pairs_on_disk_are_those_in_memory(digits, tmp_path):
    pytest.importorskip("faiss")
    unit = normalize(digits)
    x = many_neighbours.RowsOnDisk(Table(digits), tmp_path)
    np.testing.assert_array_equal(x[:], unit)
    np.testing.assert_array_equal(x[1800:9999], unit[1800:])
    again = np.tile([1896, 0, 7], 10_000)  # more than are read at once
    np.testing.assert_array_equal(x[again], unit[again])
    assert not x.alike and not list(tmp_path.iterdir())
    rows, similarities = neighbours.nearest(unit, 10)
    threshold = duplicates.threshold(similarities)
    groups = duplicates.groups(rows, similarities, threshold)
    odd = duplicates.outliers(similarities)
    found = many_neighbours.pairs_of_many(x, tmp_path)
    assert found.threshold == pytest.approx(threshold, abs=1e-6)
    assert [list(each) for each in found.groups] == [list(each) for each in groups]
    assert len(groups) >= 100
    np.testing.assert_array_equal(np.sort(found.odd), np.sort(odd))
    np.testing.assert_allclose(found.similarities, similarities[found.numbers], atol=1e-5)
    assert np.mean(found.rows == rows[found.numbers]) > 0.999

    # Of another table, and sorted into cells: the close ones are found.
    queries = many_neighbours.RowsOnDisk(Table(digits[:1500]), tmp_path)
    for cells, least in ((1, 1), (20, 0.95)):
        equal = 0
        for of, near, similarity in many_neighbours.neighbours_of_many(x, 1, queries, cells=cells):
            assert (similarity <= 1 + 1e-5).all()
            equal += np.count_nonzero(near[:, 0] == of)
        assert equal >= least * 1500
    # Cells of a few rows, in which not all have ten neighbours.
    assert (many_neighbours.pairs_of_many(x, tmp_path, 0.9, cells=300).rows >= 0).all()
    cells = many_neighbours.pairs_of_many(x, tmp_path, threshold, cells=20)
    pairs = {tuple(group) for group in groups}
    assert len(pairs & {tuple(group) for group in cells.groups}) > 0.95 * len(pairs)


def test_equal_rows_are_a_group_and_no_row_its_own_neighbour(tmp_path):
    pytest.importorskip("faiss")
    rows = np.repeat(np.eye(3, 8, dtype=np.float32), [12, 1000, 188], axis=0)
    x = many_neighbours.RowsOnDisk(Table(rows), tmp_path)
    found = many_neighbours.pairs_of_many(x, tmp_path, threshold=0.99)
    assert [len(group) for group in found.groups] == [1000, 188, 12]
    assert not (found.rows == found.numbers[:, None]).any()
