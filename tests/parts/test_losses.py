import math

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf

from cueco_tf.parts import losses


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    return {
        "queries": reference.random_units(rng, 9, 16),
        "keys": reference.random_units(rng, 9, 16),
        "negatives": reference.random_units(rng, 33, 16),
        "centroids": reference.random_units(rng, 5, 16),
        "variances": rng.uniform(0.1, 2.0, 5),
        "assignments": rng.integers(0, 5, 9),
    }


def pick(case, *names):
    return [case[name] for name in names]


def single(arrays):
    return [a.astype("int32" if a.dtype.kind == "i" else "float32") for a in arrays]


@pytest.mark.parametrize("temperature", [0.05, 0.2, 1.0])
def test_losses_equal_the_formulas(case, temperature):
    names = ("queries", "keys", "negatives")
    got = losses.info_nce(*single(pick(case, *names)), temperature)
    np.testing.assert_allclose(got, reference.info_nce(*pick(case, *names), temperature), 1e-5)

    names = ("queries", "centroids", "assignments")
    got = losses.centroid_contrast(*single(pick(case, *names)), temperature)
    expected = reference.centroid_contrast(*pick(case, *names), temperature)
    # Logits reach 20, where float32 resolves 2e-6.
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=2e-6)


def test_variance_loss_equals_the_formula(case):
    arrays = pick(case, "queries", "centroids", "variances", "assignments")
    got = losses.cluster_variance(*single(arrays))
    assert got.shape == (9,)
    np.testing.assert_allclose(got, reference.cluster_variance(*arrays), 1e-5)


@pytest.mark.parametrize("temperature", [0.01, 0.2, 5.0])
def test_a_queue_of_positives_costs_log_k_plus_one(case, temperature):
    queries, keys = single(pick(case, "queries", "keys"))
    got = [
        losses.info_nce(
            queries[i : i + 1], keys[i : i + 1], np.repeat(keys[i : i + 1], 100, 0), temperature
        )[0]
        for i in range(9)
    ]
    np.testing.assert_allclose(got, math.log(101), rtol=1e-5)


def test_losses_stay_finite_at_a_tiny_temperature(case):
    queries, negatives = single(pick(case, "queries", "negatives"))
    worst = losses.info_nce(queries, -queries, negatives, 1e-3)
    best = losses.info_nce(queries, queries, -queries, 1e-3)
    assert np.isfinite(keras.ops.convert_to_numpy(worst)).all()
    assert keras.ops.convert_to_numpy(best).min() >= 0


def test_info_nce_gradient_equals_finite_differences(case):
    queries, keys, negatives = pick(case, "queries", "keys", "negatives")
    variable = tf.constant(queries, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        total = tf.reduce_sum(losses.info_nce(variable, *single([keys, negatives]), 0.2))
    got = tape.gradient(total, variable).numpy()
    step = 1e-6
    for i, j in ((0, 0), (3, 7), (8, 15)):
        moved = queries.copy()
        moved[i, j] += step
        above = reference.info_nce(moved, keys, negatives, 0.2).sum()
        moved[i, j] -= 2 * step
        below = reference.info_nce(moved, keys, negatives, 0.2).sum()
        assert got[i, j] == pytest.approx((above - below) / (2 * step), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("temperature", [0, -1.0])
def test_a_temperature_that_is_not_positive_is_refused(case, temperature):
    with pytest.raises(ValueError, match="`temperature` should be positive"):
        losses.info_nce(*single(pick(case, "queries", "keys", "negatives")), temperature)
    with pytest.raises(ValueError, match="`temperature` should be positive"):
        arrays = single(pick(case, "queries", "centroids", "assignments"))
        losses.centroid_contrast(*arrays, temperature)


def test_regression_is_0_where_equal_2_orthogonal_and_4_opposite():
    one = np.array([[2.0, 0.0]] * 3, np.float32)
    other = np.array([[5.0, 0.0], [0.0, 3.0], [-1.0, 0.0]], np.float32)
    np.testing.assert_allclose(losses.regression(one, other), [0, 2, 4], atol=1e-6)
