"""What user code may change is read when it is used: layers frozen and thawed, weights loaded,
states restored by callbacks, images written to."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_methods import make, small_encoder
from tiny_method import TinyMethod

from cueco_tf import CueCo, build_encoder
from cueco_tf.parts.momentum import MomentumNetwork
from cueco_tf.settings.methods import METHODS

SLOW = ("cueco", "moco_v2", "byol", "moco_v3")


@pytest.fixture(scope="module")
def images(digits):
    return digits.train.images[:96]


def arrays(network):
    return [weight.numpy() for weight in network.weights]


def assert_same(one, other):
    for own, expected in zip(one, other, strict=True):
        np.testing.assert_array_equal(own, expected)


def normalising_encoder():
    x = inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, strides=2)(keras.layers.Rescaling(1 / 255)(x))
    x = keras.layers.BatchNormalization(momentum=0.5)(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))


@pytest.mark.parametrize("method", SLOW)
def test_weights_loaded_before_the_first_step_reach_the_slow_networks(method, images):
    """Loaded after the model was made, and even by a callback."""
    model = make(method)
    other = [weight + 0.5 for weight in arrays(model.encoder)]
    load = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: model.encoder.set_weights(other)
    )
    model.optimizer.learning_rate = 0.0
    model.fit(images, batch_size=48, epochs=1, verbose=0, callbacks=load)
    for own, expected in zip(arrays(model.key_encoder.network), other, strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-6)


def test_a_restored_slow_network_stays_what_it_was(images, tmp_path):
    model = make("moco_v2", total_steps=6)
    model.fit(images, batch_size=48, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    slow = arrays(again.key_encoder.network)
    assert not np.array_equal(slow[0], again.encoder.weights[0].numpy())
    for each in (model, again):
        each.fit(images, batch_size=48, verbose=0)
    assert_same(arrays(again), arrays(model))


def test_an_encoder_that_is_thawed_later_is_followed():
    encoder = build_encoder("resnet10", width=8, image_size=16)
    encoder.trainable = False
    model = CueCo(encoder, num_clusters=2, queue_size=8, hidden_dim=8, projection_dim=4)
    encoder.trainable = True
    for weight in encoder.trainable_weights:
        weight.assign(weight + 1.0)
    before = arrays(model.key_encoder.network)
    model.key_encoder.follow(model.encoder, 0.0)
    after = zip(before, model.key_encoder.network.weights, strict=True)
    moved = sum(not np.array_equal(old, new.numpy()) for old, new in after)
    assert moved == len(encoder.trainable_weights) == 36
    assert not model.key_encoder.trainable_weights


@pytest.mark.parametrize("method", METHODS)
def test_what_is_frozen_stands_still_until_it_is_thawed(method, images):
    """Keras's recipe of transfer: train what is new, thaw the rest, compile again."""
    model = make(method)
    model.encoder.trainable = False
    model.fit(images, batch_size=48, epochs=2, verbose=0)
    frozen = arrays(model.encoder)
    assert_same(frozen, arrays(make(method).encoder))
    model.encoder.trainable = True
    with pytest.raises(ValueError, match=r"frozen or thawed since `compile`.*Call `compile` again"):
        model.fit(images, batch_size=48, verbose=0)
    model.compile(keras.optimizers.SGD(0.05))
    model.fit(images, batch_size=48, epochs=3, verbose=0)
    assert not np.array_equal(frozen[0], model.encoder.weights[0].numpy())
    if hasattr(model, "key_encoder"):
        assert not np.array_equal(frozen[0], model.key_encoder.network.weights[0].numpy())


def test_a_frozen_normalisation_is_in_inference_mode_in_the_copy_as_well(images):
    encoder = normalising_encoder()
    model = TinyMethod(encoder, seed=0, key_momentum=(0.5, 0.5))
    slow, batch = model.key_encoder, images[:8].astype("float32")
    encoder.layers[3].trainable = False
    slow.follow(encoder, 0.5)
    np.testing.assert_allclose(slow(batch), encoder(batch, training=False), rtol=1e-5, atol=1e-6)
    encoder.layers[3].trainable = True
    slow.follow(encoder, 0.5)
    expected = encoder(batch, training=True)
    np.testing.assert_allclose(slow(batch), expected, rtol=1e-5, atol=1e-6)
    assert np.abs(expected - encoder(batch, training=False)).max() > 1e-3


def test_a_normalisation_frozen_as_a_whole_block_is_followed_into():
    """A composite layer, inside which Keras hands flags down."""
    inputs = keras.Input((16, 16, 3))
    block = keras.layers.TimeDistributed(keras.layers.BatchNormalization())
    features = keras.layers.GlobalAveragePooling2D()(block(inputs))
    encoder = keras.Model(inputs, features)
    encoder.trainable = False
    slow = MomentumNetwork(encoder)
    encoder.trainable = True
    encoder.layers[1].gamma = None  # not the copy's
    inner = block.layer
    inner.gamma.assign(inner.gamma + 1.0)
    slow.follow(encoder, 0.0)
    np.testing.assert_array_equal(slow.network.weights[0], inner.gamma)


def test_nothing_to_train_is_said(images):
    model = make("simclr")
    model.trainable = False
    with pytest.raises(ValueError, match="All layers are frozen"):
        model.fit(images, verbose=0)


class Stop(Exception):
    """Ends a training as a crash does."""


def crash_after(epochs):
    def end(epoch, logs):
        if epoch + 1 == epochs:
            raise Stop

    return keras.callbacks.LambdaCallback(on_epoch_end=end)


@pytest.mark.parametrize("stream", [False, True], ids=["arrays", "dataset"])
def test_backup_and_restore_goes_on_with_the_views_that_come_next(images, tmp_path, stream):
    """As a training that was never cut: the state is restored when `fit` has begun."""
    given = dict(x=images, batch_size=32)
    if stream:
        given = dict(x=tf.data.Dataset.from_tensor_slices(images).batch(32))
    options = dict(epochs=4, verbose=0)
    whole = make("cueco")
    whole.fit(**given, **options)
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(Stop):
        make("cueco").fit(**given, **options, callbacks=[backup, crash_after(2)])
    assert json.loads((tmp_path / "backup" / "training_metadata.json").read_text())["epoch"] == 2
    again = make("cueco")
    restored = []
    look = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: restored.append((epoch, int(again.step)))
    )
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    again.fit(**given, **options, callbacks=[backup, look])
    assert restored == [(2, 6), (3, 9)]
    assert_same(arrays(again), arrays(whole))


def test_a_dataset_of_unknown_length_sees_other_views_each_epoch(images):
    """Numbered by the step that comes, whether or not `fit` begins anew."""
    seen = []

    def watched(images, seed):
        tf.numpy_function(lambda seed: seen.append(tuple(seed)), [seed], [])
        images = tf.cast(images, tf.float32)
        return images, images[:, :, ::-1]

    batches = tf.data.Dataset.from_tensor_slices(images).batch(48).filter(lambda batch: True)
    model = make("simclr", augment=watched, total_steps=6)
    model.fit(batches, epochs=2, verbose=0)
    model.fit(batches, verbose=0)
    assert len(set(seen)) >= 6 and {(1, step) for step in range(6)} <= set(seen)


def test_images_that_were_written_to_since_the_last_fit_are_seen(images):
    """On the device as on the host."""
    ours = images.copy()
    fits = [dict(on_device=True), dict(on_device=False)]
    models = [make("vicreg", total_steps=4) for _ in fits]
    for model, fitting in zip(models, fits, strict=True):
        ours[:] = images
        model.fit(ours, batch_size=48, verbose=0, **fitting)
        ours[:] = 255 - ours
        model.fit(ours, batch_size=48, verbose=0, **fitting)
    for own, expected in zip(*map(arrays, models), strict=True):
        np.testing.assert_allclose(own, expected, atol=1e-4)
    assert models[0]._resident.images.numpy()[0, 0, 0, 0] == 255 - images[0, 0, 0, 0]


def test_schedules_are_laid_out_from_where_a_callback_leaves_the_step(images):
    model = make("cueco", warmup_steps=None)
    jump = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: model.step.assign(100))
    model.fit(images, batch_size=48, epochs=3, verbose=0, callbacks=[jump])
    assert int(model.total_steps) == 106 and int(model.step) == 106
    assert int(model.warmup) == int(0.3 * 106)


def test_a_small_encoder_can_be_frozen_whole_and_saved(tmp_path):
    encoder = small_encoder()
    encoder.trainable = False
    model = CueCo(encoder, 2, queue_size=8, hidden_dim=8, projection_dim=4)
    model.compile(keras.optimizers.SGD(0.1))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert not again.encoder.trainable_weights and again.head.trainable_weights
    for own, other in zip(again.key_encoder.network.weights, model.encoder.weights, strict=True):
        np.testing.assert_array_equal(own, other)
