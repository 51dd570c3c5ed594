"""When and how hard the clustering losses pull: ramp, refresh, floor, temperature."""

import keras
import numpy as np
import pytest

from cueco_tf import CueCo
from cueco_tf.parts import clusters, losses


def make(**options):
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(16, 3, 4, padding="same", activation="relu")(
        keras.layers.Rescaling(1 / 127.5, -1)(x)
    )
    encoder = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    model = CueCo(encoder, 5, queue_size=48, hidden_dim=16, projection_dim=8, **options)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9))
    return model


def train(images, epochs=4, **options):
    model = make(warmup_steps=3, total_steps=12, **options)
    history = model.fit(images, batch_size=32, epochs=epochs, verbose=0).history
    return model, history


@pytest.fixture(scope="module")
def images(cifar):
    return cifar.train.images[:96]


@pytest.mark.parametrize(
    "ramp_steps, schedule, shares",
    [
        (4, [100, 10], [0, 0, 0, 0.25, 0.75, 1, 1]),
        (None, [18, 10], [0, 0, 0, 0.125, 0.375, 0.5, 1]),  # to the end of training
        (None, [0, 10], [1] * 7),  # which is unknown
        (None, [10, 10], [1] * 7),  # nothing left to rise over
        (0, [100, 10], [1] * 7),
    ],
)
def test_the_ramp_rises_in_a_line_from_the_end_of_the_warm_up(ramp_steps, schedule, shares):
    model = make(ramp_steps=ramp_steps)
    total_steps, warmup = schedule
    model.total_steps.assign(total_steps)
    model.warmup.assign(warmup)
    received = []
    for step in (0, 9, 10, 11, 13, 14, 99):
        model.step.assign(step)
        received.append(float(model.ramp()))
    assert received == shares


def test_before_it_has_risen_the_pull_does_nothing(images):
    never, _ = train(images, ramp_steps=10**9, loss_weights=(1, 5, 5))
    alone, _ = train(images, loss_weights=(1, 0, 0))
    pulled, _ = train(images, loss_weights=(1, 5, 5))
    for own, other in zip(never.trainable_variables, alone.trainable_variables, strict=True):
        np.testing.assert_allclose(own.numpy(), other.numpy(), atol=1e-6)
    apart = [
        np.abs(own.numpy() - other.numpy()).max()
        for own, other in zip(pulled.trainable_variables, alone.trainable_variables, strict=True)
    ]
    assert max(apart) > 1e-2


def test_a_refresh_is_kmeans_on_the_queue_as_it_is(images):
    model, _ = train(images, refresh_steps=4)  # the last step, the twelfth, is one
    model.step.assign(11)
    uniforms = model.draw((5, clusters.seeding_trials(5)))
    expected = clusters.spherical_kmeans(model.memory.queue.value, uniforms)
    names = ("centroids", "variances", "usage")
    for name, value in zip(names, expected, strict=True):
        np.testing.assert_allclose(
            getattr(model.clusters, name).numpy(), value.numpy(), atol=1e-5, err_msg=name
        )
    other, _ = train(images, refresh_steps=5)
    assert np.abs(other.clusters.centroids.numpy() - expected[0].numpy()).max() > 1e-3


def test_no_variance_falls_below_the_floor(images):
    low, _ = train(images)
    high, _ = train(images, variance_floor=0.5)
    assert low.clusters.variances.numpy().min() < 0.5
    np.testing.assert_array_equal(high.clusters.variances.numpy() >= 0.5, True)


def test_the_centroid_loss_has_a_temperature_of_its_own(images):
    model, _ = train(images, centroid_temperature=0.05)
    z = model(images)
    assigned = model.clusters.assign(z)
    first, second, _ = model.loss_terms(z, z, assigned)
    queue, centroids = model.memory.queue.value, model.clusters.centroids.value
    for got, expected in (
        (first, losses.info_nce(z, z, queue, 0.2)),
        (second, losses.centroid_contrast(z, centroids, assigned, 0.05)),
    ):
        np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-6)
    assert make().centroid_temperature == 0.05


@pytest.mark.parametrize(
    "options, message",
    [
        ({"centroid_temperature": 0}, "`centroid_temperature` should be positive"),
        ({"variance_floor": 0}, "`variance_floor` should be in"),
        ({"ramp_steps": -1}, "`ramp_steps` should be at least 0"),
        ({"refresh_steps": -1}, "`refresh_steps` should be at least 0"),
    ],
)
def test_wrong_values_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
