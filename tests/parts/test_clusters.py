import math

import keras
import numpy as np
import pytest
import reference
from sklearn.cluster import KMeans

from cueco_tf.parts import clusters


def as_numpy(values):
    return [keras.ops.convert_to_numpy(value) for value in values]


@pytest.fixture
def state():
    rng = np.random.default_rng(1)
    centroids = reference.random_units(rng, 6, 8)
    keys = reference.random_units(rng, 12, 8)
    # Cluster 2 gets one key and cluster 5 none.
    assignments = np.array([0, 1, 0, 1, 2, 3, 3, 3, 4, 4, 0, 1])
    return centroids, rng.uniform(0.5, 2, 6), keys, assignments


def single(centroids, variances, keys, assignments):
    arrays = [a.astype("float32") for a in (centroids, variances, keys)]
    return *arrays, assignments.astype("int32")


@pytest.mark.parametrize("momenta", [(0.99, 0.99), (0.5, 0.9), (0.0, 0.0)])
def test_update_equals_the_formula(state, momenta):
    got = as_numpy(clusters.update(*single(*state), *momenta))
    expected = reference.update(*state, *momenta, clusters.VARIANCE_FLOOR)
    for value, reference_value in zip(got, expected, strict=True):
        np.testing.assert_allclose(value, reference_value, rtol=1e-5, atol=1e-6)


def test_update_leaves_empty_clusters_alone_and_centroids_on_the_sphere(state):
    centroids, variances, _, _ = single(*state)
    new_centroids, new_variances = as_numpy(clusters.update(*single(*state), 0.5, 0.5))
    np.testing.assert_array_equal(new_centroids[5], centroids[5])
    assert new_variances[5] == variances[5]
    np.testing.assert_allclose(np.linalg.norm(new_centroids, axis=1), 1, rtol=1e-6)


def test_a_single_key_cannot_drive_the_variance_to_zero(state):
    centroids, variances, keys, _ = single(*state)
    assignments = np.zeros(1, "int32")
    for _ in range(2000):
        centroids, variances = clusters.update(
            centroids, variances, keys[:1], assignments, 0.9, 0.9
        )
    assert float(variances[0]) == pytest.approx(clusters.VARIANCE_FLOOR)


def test_assign_is_the_argmax_of_the_similarity(state):
    centroids, _, keys, _ = state
    got = keras.ops.convert_to_numpy(
        clusters.assign(keys.astype("float32"), centroids.astype("float32"))
    )
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, (keys @ centroids.T).argmax(axis=1))


def test_kmeans_is_as_good_as_scikit_learn_on_real_images(digits):
    pixels = digits.train.images[:, ::2, ::2, 0].reshape(len(digits.train), -1)
    x = keras.ops.convert_to_numpy(clusters.normalize(pixels))
    costs, peer_costs = [], []
    for seed in range(8):
        shape = (10, clusters.seeding_trials(10))
        uniforms = np.random.default_rng(seed).uniform(size=shape).astype("float32")
        centroids, variances, usage = as_numpy(clusters.spherical_kmeans(x, uniforms))
        costs.append(2 - 2 * (x @ centroids.T).max(axis=1).mean())
        peer = KMeans(10, n_init=1, random_state=seed).fit(x)
        directions = reference.unit(peer.cluster_centers_)
        peer_costs.append(2 - 2 * (x @ directions.T).max(axis=1).mean())
    assert np.mean(costs) < 1.01 * np.mean(peer_costs)

    assignments = (x @ centroids.T).argmax(axis=1)
    np.testing.assert_allclose(usage, np.bincount(assignments, minlength=10) / len(x), rtol=1e-6)
    own = [np.mean(np.sum((x[assignments == i] - centroids[i]) ** 2, 1)) for i in range(10)]
    np.testing.assert_allclose(variances, own, rtol=1e-3)


def test_kmeans_plus_plus_starts_at_distinct_vectors_even_with_duplicates():
    rng = np.random.default_rng(0)
    vectors = np.repeat(reference.random_units(rng, 4, 5), 25, axis=0).astype("float32")
    uniforms = rng.uniform(size=(4, 3)).astype("float32")
    chosen = keras.ops.convert_to_numpy(clusters.kmeans_plus_plus(vectors, uniforms))
    assert len(np.unique(chosen.round(5), axis=0)) == 4


def test_usage_follows_the_shares_with_a_horizon_that_grows_with_the_clusters():
    usage = np.full(4, 0.25, "float32")
    batch = np.zeros(40, "int32")
    got = keras.ops.convert_to_numpy(clusters.update_usage(usage, batch))
    decay = math.exp(-40 / (clusters.USAGE_HORIZON * 4))
    np.testing.assert_allclose(got, [decay / 4 + 1 - decay] + [decay / 4] * 3, rtol=1e-5)
    assert got.sum() == pytest.approx(1)


@pytest.mark.parametrize("num_clusters, batch", [(10, 128), (1000, 256), (10_000, 256)])
def test_healthy_clusters_are_not_found_dead_by_chance(num_clusters, batch):
    rng = np.random.default_rng(0)
    usage = np.full(num_clusters, 1 / num_clusters, "float32")
    for _ in range(300):
        assignments = rng.integers(0, num_clusters, batch).astype("int32")
        usage = keras.ops.convert_to_numpy(clusters.update_usage(usage, assignments))
    assert not keras.ops.convert_to_numpy(clusters.is_dead(usage)).any()


def test_usage_entropy_goes_from_zero_to_one():
    assert float(clusters.usage_entropy(np.full(7, 1 / 7, "float32"))) == pytest.approx(1, abs=1e-6)
    assert float(clusters.usage_entropy(np.eye(7, dtype="float32")[0])) == 0
    assert float(clusters.usage_entropy(np.zeros(7, "float32"))) == 0


def test_reseeding_mends_the_dead_alone(state):
    centroids, variances, keys, _ = single(*state)
    usage = np.array([0.3, 0.0, 0.3, 0.2, 0.0, 0.2], "float32")
    uniforms = np.random.default_rng(0).uniform(size=len(keys)).astype("float32")
    new, spread, share = as_numpy(clusters.reseed(centroids, variances, usage, keys, uniforms))
    alive, dead = [0, 2, 3, 5], [1, 4]
    np.testing.assert_array_equal(new[alive], centroids[alive])
    np.testing.assert_array_equal(spread[alive], variances[alive])
    for i in dead:
        assert any(np.array_equal(new[i], key) for key in keys)
        assert spread[i] == pytest.approx(variances[alive].mean(), rel=1e-6)
        assert share[i] == pytest.approx(1 / 6 / (1 + 2 / 6), rel=1e-6)
    assert not np.array_equal(new[1], new[4])
    assert share.sum() == pytest.approx(1)


def test_reseeding_prefers_keys_far_from_every_centroid():
    # Nine keys sit on a living centroid, one is far from all.
    centroids = np.eye(3, 4, dtype="float32")
    keys = np.concatenate([np.repeat(centroids[:1], 9, 0), np.eye(4, dtype="float32")[3:]])
    usage = np.array([0.5, 0.0, 0.5], "float32")
    for seed in range(20):
        uniforms = np.random.default_rng(seed).uniform(size=10).astype("float32")
        new, _, _ = as_numpy(
            clusters.reseed(centroids, np.ones(3, "float32"), usage, keys, uniforms)
        )
        np.testing.assert_array_equal(new[1], keys[9])


def test_several_centroids_a_round_cost_no_inertia(cifar):
    """Against scikit-learn's greedy k-means++, which chooses one after the other."""
    from sklearn.cluster import KMeans, kmeans_plusplus

    pixels = cifar.train.images[:1500].reshape(1500, -1).astype("float32")
    projected = (pixels - pixels.mean(0)) @ np.random.default_rng(0).normal(size=(3072, 64))
    vectors = reference.unit(projected).astype("float32")
    count = 3 * clusters.SEEDING_ROUNDS - 5  # three a round, the last of which are fewer
    trials, ratios = clusters.seeding_trials(count), []
    for seed in range(3):
        uniforms = np.random.default_rng(seed).uniform(size=(count, trials)).astype("float32")
        chosen = keras.ops.convert_to_numpy(clusters.kmeans_plus_plus(vectors, uniforms))
        assert chosen.shape == (count, 64)
        expected, _ = kmeans_plusplus(vectors, count, random_state=seed)
        ratios.append(
            KMeans(count, init=chosen, n_init=1).fit(vectors).inertia_
            / KMeans(count, init=expected, n_init=1).fit(vectors).inertia_
        )
    assert np.mean(ratios) < 1.01
