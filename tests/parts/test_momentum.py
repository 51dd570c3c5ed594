import keras
import numpy as np
import pytest

from cueco_tf.parts.momentum import MomentumNetwork, cosine_momentum


def test_momentum_rises_along_a_cosine_and_stays_put_without_a_total():
    steps = np.arange(0, 101)
    got = [float(cosine_momentum(0.99, 0.999, step, 100)) for step in steps]
    expected = 0.999 - 0.009 * (np.cos(np.pi * steps / 100) + 1) / 2
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert float(cosine_momentum(0.99, 0.999, 500, 100)) == pytest.approx(0.999)
    assert float(cosine_momentum(0.99, 0.999, 500, 0)) == pytest.approx(0.99)


@pytest.fixture
def network():
    inputs = keras.Input((4,))
    x = keras.layers.BatchNormalization(momentum=0.5)(keras.layers.Dense(3)(inputs))
    return keras.Model(inputs, x)


def test_follow_is_the_moving_average_of_what_is_learnt(network):
    copy = MomentumNetwork(network)
    before = copy.network.get_weights()
    rng = np.random.default_rng(0)
    network.set_weights([rng.normal(size=w.shape) for w in network.get_weights()])
    copy.follow(network, 0.9)
    for weight, old, new, own in zip(
        network.weights, before, network.get_weights(), copy.network.get_weights(), strict=True
    ):
        expected = 0.9 * old + 0.1 * new if weight.trainable else old
        np.testing.assert_allclose(own, expected, rtol=1e-6)


def test_the_copy_is_frozen_by_structure_and_keeps_its_own_batch_statistics(network):
    copy = MomentumNetwork(network)
    model = keras.Sequential([keras.Input((4,)), copy])
    for flag in (False, True):
        model.trainable = flag
        assert model.trainable_variables == [] and copy.trainable_variables == []
    x = np.random.default_rng(0).normal(3, 2, (64, 4)).astype("float32")
    y = keras.ops.convert_to_numpy(copy(x))
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-5)  # batch statistics, not moving ones
    means = [w.numpy() for w in copy.network.weights if w.name == "moving_mean"]
    assert np.abs(means[0]).max() > 0
    untouched = [w.numpy() for w in network.weights if w.name == "moving_mean"]
    assert not untouched[0].any()
