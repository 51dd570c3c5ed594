"""An encoder that stays as it is while its head learns."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_methods import SMALL, small_encoder

from cueco_tf import CueCo, SimCLR
from cueco_tf.methods.freezing import frozen_encoder
from cueco_tf.parts.batch_norm import FusedBatchNormalization


@pytest.fixture(scope="module")
def images(digits):
    return digits.train.images[:96]


def arrays(network):
    return [weight.numpy() for weight in network.weights]


def normalising_encoder():
    x = inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, strides=2)(keras.layers.Rescaling(1 / 255)(x))
    x = FusedBatchNormalization(momentum=0.5)(x)
    x = keras.layers.Conv2D(8, 3, name="second")(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))


def made(encoder, kind="simclr", built=True):
    keras.utils.set_random_seed(0)
    model = {"simclr": SimCLR, "cueco": CueCo}[kind](encoder(), **SMALL[kind], seed=1)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9, weight_decay=0.01))
    if built:
        model.optimizer.build(model.trainable_variables)
    return model


@pytest.mark.parametrize("kind", ["simclr", "cueco"])
def test_the_head_learns_as_with_an_optimizer_of_its_own(kind, images):
    """Then the encoder learns too, and the head goes on with its velocities."""
    model, other = made(normalising_encoder, kind), made(normalising_encoder, kind, built=False)
    began = arrays(model.encoder)
    with frozen_encoder(model):
        model.fit(images, batch_size=48, epochs=2, verbose=0)
    other.encoder.trainable = False
    other.fit(images, batch_size=48, epochs=2, verbose=0)
    for network in ("encoder", "head"):
        for own, expected in zip(
            arrays(getattr(model, network)), arrays(getattr(other, network)), strict=True
        ):
            np.testing.assert_array_equal(own, expected)
    for own, expected in zip(arrays(model.encoder), began, strict=True):
        np.testing.assert_array_equal(own, expected)  # moving statistics as well
    velocities = {v.path: v.numpy() for v in model.optimizer.variables if "momentum" in v.path}
    assert sum(np.any(value != 0) for value in velocities.values()) == len(model.head.weights)
    assert int(model.optimizer.iterations.numpy()) == 4
    model.fit(images, batch_size=48, verbose=0)
    assert int(model.optimizer.iterations.numpy()) == 6
    moved = [np.any(own != old) for own, old in zip(arrays(model.encoder), began, strict=True)]
    assert all(moved), moved


def kinds_of_operations(model, images):
    views = (tf.constant(images, tf.float32),) * 2
    labels = tf.zeros(len(images), tf.int64)
    model.begin(1, 1)
    graph = model.compiled_step().get_concrete_function((views, labels)).graph
    return [operation.type for operation in graph.get_operations()]


def test_the_encoder_s_gradient_is_not_computed_while_it_is_frozen(images):
    model = made(normalising_encoder, "cueco")
    learning = kinds_of_operations(model, images)
    assert any(kind.startswith("Conv2DBackprop") for kind in learning)
    assert any(kind.startswith("FusedBatchNormGrad") for kind in learning)
    with frozen_encoder(model):
        frozen = kinds_of_operations(model, images)
    assert not any("Conv2DBackprop" in kind or "FusedBatchNormGrad" in kind for kind in frozen)
    assert frozen.count("Conv2D") == learning.count("Conv2D")


def test_what_its_owner_froze_stays_frozen(images):
    def partly_frozen():
        encoder = normalising_encoder()
        encoder.get_layer("second").trainable = False
        return encoder

    model = made(partly_frozen)
    second = arrays(model.encoder.get_layer("second"))
    trained = [id(variable) for variable in model.trainable_variables]
    with frozen_encoder(model):
        assert not model.encoder.trainable_variables
    assert [id(variable) for variable in model.trainable_variables] == trained
    before = arrays(model.encoder)
    model.fit(images, batch_size=48, verbose=0)
    assert not np.array_equal(arrays(model.encoder)[0], before[0])
    for own, expected in zip(arrays(model.encoder.get_layer("second")), second, strict=True):
        np.testing.assert_array_equal(own, expected)


def test_replicas_thaw_together(images, mirrored):
    with mirrored.scope():
        model = made(small_encoder)
    with frozen_encoder(model):
        model.fit(images, batch_size=48, verbose=0)
    before = arrays(model.encoder)
    model.fit(images, batch_size=48, verbose=0)
    assert not np.array_equal(arrays(model.encoder)[0], before[0])
