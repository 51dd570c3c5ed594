"""The tree of clusters, their description and their number, on real digits and made groups."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

from cueco_tf.clustering.count import choose_count
from cueco_tf.clustering.describe import OTHER, describe, describe_groups, means, set_apart
from cueco_tf.clustering.tree import ClusterTree, default_leaves, grow
from cueco_tf.evaluation import clustering_scores, normalize


@pytest.fixture(scope="module")
def pixels():
    """Real digits as unit vectors around their mean, and their labels."""
    images, labels = load_digits(return_X_y=True)
    return normalize(images - images.mean(axis=0)), labels


@pytest.fixture(scope="module")
def tree(pixels):
    return grow(pixels[0], seed=3)


def blobs(count, noise, seed, rows=3000, dim=32):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(count, dim))
    groups = np.arange(rows) % count
    return normalize(centres[groups] + noise * rng.normal(size=(rows, dim))), groups


def test_coarse_clusters_are_unions_of_fine_ones_and_every_count_can_be_had(tree):
    cuts = {count: tree.cut(count) for count in (1, 2, 10, 40, 200, len(tree))}
    for count, cut in cuts.items():
        assert sorted(set(cut)) == list(range(count))
    for fine, coarse in ((200, 40), (40, 10), (10, 2)):
        for own in range(fine):
            assert len(set(cuts[coarse][cuts[fine] == own])) == 1
    many = tree.cut([10, 40])
    np.testing.assert_array_equal(many, [cuts[10], cuts[40]])


def test_the_cuts_are_those_of_scipy_on_the_same_leaves(tree):
    peer = fcluster(linkage(tree.centres, "ward"), 10, "maxclust")
    assert clustering_scores(peer, tree.cut(10))["ari"] == 1


def test_images_are_in_the_nearest_leaf(tree, pixels):
    x = pixels[0][:300]
    distance = np.linalg.norm(x[:, None] - tree.centres[None], axis=-1)
    np.testing.assert_array_equal(tree.leaf_of(x), distance.argmin(axis=1))


def test_the_tree_is_about_as_good_as_k_means(pixels):
    x, labels = pixels
    scores = []
    for seed in range(3):
        grown = grow(x, seed)
        ours = grown.cut(10)[grown.leaf_of(x)]
        peer = KMeans(10, n_init=3, random_state=seed).fit_predict(x)
        scores.append([clustering_scores(labels, found)["nmi"] for found in (ours, peer)])
    ours, peer = np.mean(scores, axis=0)
    assert ours > peer - 0.02


def test_the_tree_is_a_function_of_the_seed(pixels):
    x = pixels[0][:400]
    one, same, other = grow(x, 5), grow(x, 5), grow(x, 6)
    np.testing.assert_array_equal(one.centres, same.centres)
    np.testing.assert_array_equal(one.merges, same.merges)
    assert not np.array_equal(one.centres, other.centres)


def test_halves_are_what_a_node_was_merged_from(tree):
    cuts = tree.cut(list(range(1, len(tree) + 1)))
    parts = {frozenset(np.flatnonzero(cut == own)) for cut in cuts for own in range(cut.max() + 1)}
    for count in (1, 10, 200):
        for own in range(count):
            leaves = np.flatnonzero(cuts[count - 1] == own)
            halves = tree.halves(leaves)
            together = sorted(leaf for half in halves for leaf in half)
            assert together == (leaves.tolist() if len(leaves) > 1 else [])
            assert all(frozenset(half) in parts for half in halves)  # clusters of finer cuts


def test_few_and_equal_rows_make_a_small_tree():
    x = normalize(np.repeat(np.eye(3, dtype=np.float32), 20, axis=0))
    assert len(grow(x)) == 3
    assert len(grow(x[:1])) == 1 and grow(x[:1]).cut(1).tolist() == [0]
    assert default_leaves(3) == 1 and default_leaves(1_000_000) == 400
    assert isinstance(grow(x[:2]), ClusterTree)


def test_clusters_are_those_of_a_slow_count(pixels):
    z, centroids = pixels[0], np.concatenate([pixels[0][:7], -pixels[0][:1]])
    clusters = describe(z, centroids)
    own = np.array([max(range(8), key=lambda c: float(x @ centroids[c])) for x in z])
    np.testing.assert_array_equal(clusters.assignments, own)
    for c in range(8):
        members = np.flatnonzero(own == c)
        assert clusters.sizes[c] == len(members)
        nearest = sorted(members, key=lambda i, c=c: -float(z[i] @ centroids[c]))
        np.testing.assert_array_equal(clusters.members[c], nearest)
        np.testing.assert_array_equal(clusters.ranks[nearest], 1 + np.arange(len(nearest)))
        if len(members):
            spread = np.mean(np.sum((z[members] - centroids[c]) ** 2, axis=1))
            assert clusters.spreads[c] == pytest.approx(spread, rel=1e-4)
    for i in range(0, len(z), 50):
        order = sorted(range(8), key=lambda c, i=i: -float(z[i] @ centroids[c]))
        assert clusters.nexts[i] == order[1]
        assert clusters.next_similarities[i] == pytest.approx(z[i] @ centroids[order[1]], abs=1e-5)
    empty = np.flatnonzero(clusters.sizes == 0)
    assert np.isnan(clusters.spreads[empty]).all()
    assert sorted([*clusters.used, *empty]) == list(range(8))
    assert (np.diff(clusters.sizes[clusters.used]) <= 0).all()
    assert sorted(clusters.alike) == sorted(clusters.used)


def test_groups_are_numbered_by_size_and_the_first_member_is_the_medoid(pixels):
    x, labels = pixels
    kept = np.isin(labels, (1, 4, 7)) & ((labels != 7) | (np.arange(len(x)) % 3 == 0))
    x, labels = x[kept], labels[kept]
    clusters, former = describe_groups(x, labels)
    assert sorted(former) == [1, 4, 7] and former[2] == 7
    np.testing.assert_array_equal(former[clusters.assignments], labels)
    np.testing.assert_allclose(
        means(x, clusters.assignments, 3), [x[labels == c].mean(axis=0) for c in former], atol=1e-6
    )
    for members in clusters.members:
        distance = np.square(x[members][:, None] - x[members][None]).sum(axis=(1, 2))
        assert distance[0] == pytest.approx(distance.min(), rel=1e-5)


def test_one_cluster_has_no_next(pixels):
    clusters, _ = describe_groups(pixels[0][:50], np.zeros(50, int))
    assert (clusters.nexts == -1).all() and np.isnan(clusters.next_similarities).all()


def test_what_belongs_nowhere_is_set_apart():
    x, groups = blobs(5, 0.3, seed=0)
    strange = normalize(np.random.default_rng(1).normal(size=(20, 32)))
    both = np.concatenate([x, strange])
    nearest = describe(strange, describe_groups(x, groups)[0].centroids).assignments
    clusters, _ = describe_groups(both, np.append(groups, nearest))
    apart = set_apart(clusters)
    assert (apart.assignments[-20:] == OTHER).all()
    assert len(apart.others) < 20 + 0.03 * len(x)
    assert apart.sizes.sum() + len(apart.others) == len(both)
    np.testing.assert_array_equal(apart.ranks[apart.others], 1 + np.arange(len(apart.others)))
    by_hand = set_apart(clusters, least=0.5)
    np.testing.assert_array_equal(by_hand.assignments == OTHER, clusters.similarities < 0.5)


def test_the_count_of_made_groups_is_found():
    count = 7
    x, _ = blobs(count, 0.45, seed=count, rows=600)
    curve = choose_count(x, seed=0)
    assert curve.chosen == count and curve.verdict() == "sure"
    assert set(curve.picks) == {count} and curve.agreement() > 0.95
    again = choose_count(x, seed=0)
    np.testing.assert_array_equal(curve.scores, again.scores)


def test_digits_are_about_ten_and_noise_is_nothing_sure(pixels):
    assert 8 <= choose_count(pixels[0][:900]).chosen <= 14
    noise = normalize(np.random.default_rng(0).normal(size=(600, 32)))
    assert choose_count(noise).verdict() == "unsure"
