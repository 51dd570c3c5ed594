import numpy as np
import pytest
import reference

from cueco_tf.parts.sinkhorn import sinkhorn


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    vectors, prototypes = reference.random_units(rng, 60, 8), reference.random_units(rng, 5, 8)
    return (vectors @ prototypes.T).astype("float32")


@pytest.mark.parametrize("epsilon", [0.025, 0.05, 1.0])
def test_shares_are_those_of_the_listing(scores, epsilon):
    shares = sinkhorn(scores, epsilon, np.ones(60, np.float32)).numpy()
    np.testing.assert_allclose(shares, reference.sinkhorn(scores, epsilon), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)


def test_all_prototypes_are_used_nearly_alike(scores):
    """However uneven they begin: all images are nearest to the same one."""
    skewed = scores / 2 + np.array([0.5, 0, 0, 0, 0], np.float32)
    shares = sinkhorn(skewed, 0.05, np.ones(60, np.float32), rounds=30).numpy()
    np.testing.assert_allclose(shares.sum(axis=0), 12, rtol=0.05)
    few = sinkhorn(skewed, 0.05, np.ones(60, np.float32)).numpy()
    assert np.ptp(few.sum(axis=0)) < 12 < np.ptp(np.bincount(skewed.argmax(axis=1), minlength=5))


def test_what_is_not_used_has_no_say(scores):
    used = np.repeat(np.float32([1, 0]), [40, 20])
    shares = sinkhorn(scores, 0.05, used).numpy()
    np.testing.assert_allclose(shares[:40], sinkhorn(scores[:40], 0.05, used[:40]), rtol=1e-5)


def test_the_least_epsilon_is_finite_where_scores_are_far_apart():
    scores = np.float32([[1, -1, -1], [1, -1, -1], [-1, 1, -1]])
    shares = sinkhorn(scores, 0.025, np.ones(3, np.float32)).numpy()
    assert np.isfinite(shares).all() and shares.sum(axis=1) == pytest.approx(1)
