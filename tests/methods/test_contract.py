"""What every method has to keep, written once: a method that is registered is held to it."""

import math

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from keras import ops
from small_methods import SMALL, fit, make

import cueco_tf
from cueco_tf.methods.base import Method
from cueco_tf.settings.methods import METHODS


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


@pytest.fixture
def views(digits):
    return digits.train.images[:12] / np.float32(1), digits.train.images[12:24] / np.float32(1)


def outcome(model, views):
    targets = model.targets(views, len(views[0]))
    return model.losses(views, targets, len(views[0]))


def projections(model, views):
    return [model.project(model.encode(view, len(view))).numpy() for view in views]


def keys(model, views):
    return [model.keys(view, len(view)).numpy() for view in views]


def expected_of_moco_v2(model, views):
    queues = [memory.queue.numpy() for memory in model.memories]
    return [reference.moco_v2(projections(model, views), keys(model, views)[::-1], queues, 0.2)]


def expected_of_cueco(model, views):
    (queries, _), (_, positives) = projections(model, views), keys(model, views)
    queries, positives = reference.unit(queries), reference.unit(positives)
    queue, centroids = model.memory.queue.numpy(), model.directions().numpy()
    own = (positives @ centroids.T).argmax(axis=1)
    started = float(model.directions_trained)
    return [
        reference.info_nce(queries, positives, queue, 0.2),
        started * reference.centroid_contrast(queries, centroids, own, 0.05),
        started
        * reference.cluster_variance(queries, centroids, model.clusters.variances.numpy(), own),
    ]


def expected_of_simclr(model, views):
    return [reference.nt_xent(*projections(model, views), 0.2)]


def predictions(model, views):
    return [model.predictor(z, training=True).numpy() for z in projections(model, views)]


def expected_of_byol(model, views):
    return [reference.byol(predictions(model, views), keys(model, views)[::-1])]


def expected_of_vicreg(model, views):
    return reference.vicreg(*projections(model, views))


def expected_of_swav(model, views):
    queues = [memory.queue.numpy() for memory in model.memories]
    return [reference.swav(*projections(model, views), model.directions().numpy(), queues, 0.1)]


def expected_of_moco_v3(model, views):
    return [reference.moco_v3(predictions(model, views), keys(model, views)[::-1], 0.2)]


EXPECTED = {
    "cueco": expected_of_cueco,
    "moco_v2": expected_of_moco_v2,
    "simclr": expected_of_simclr,
    "byol": expected_of_byol,
    "vicreg": expected_of_vicreg,
    "swav": expected_of_swav,
    "moco_v3": expected_of_moco_v3,
}
# Where all features are 0: the terms of 12 images, by the constructor's small numbers.
CONSTANT = {
    "cueco": [math.log(41), 0, 0],
    "moco_v2": [math.log(41)],
    "simclr": [math.log(23)],
    "byol": [4],  # orthogonal to their targets, 2 a direction,
    "vicreg": [0, 2 * 0.99, 0],  # 25 of which are 49.5,
    "swav": [math.log(6)],
    "moco_v3": [2 * 0.4 * math.log(12)],
}


def test_the_losses_are_the_formulas(method, digits, views):
    """Of networks and queues that have learnt a little, each term an image in float64."""
    model = make(method)
    fit(model, digits)
    found = outcome(model, views)
    expected = EXPECTED[method](model, views)
    assert len(found.terms) == len(expected) == len(METHODS[method].terms)
    for name, term, want in zip(model.terms, found.terms, expected, strict=True):
        assert term.shape == (12,), name
        np.testing.assert_allclose(term, want, rtol=2e-4, atol=1e-5, err_msg=name)
    assert found.features.shape in ((12, 16), (24, 16))


def test_constant_features_cost_what_theory_says(method, views):
    model = make(method)
    for weight in model.encoder.weights:
        weight.assign(ops.zeros_like(weight))
    for term, value in zip(outcome(model, views).terms, CONSTANT[method], strict=True):
        np.testing.assert_allclose(term, np.full(12, value), rtol=1e-5, atol=1e-6)


def test_it_is_public_and_logs_what_its_settings_say(method, digits):
    model = make(method)
    assert getattr(cueco_tf, type(model).__name__) is type(model)
    columns = {"loss", *METHODS[method].terms, "learning_rate", *METHODS[method].columns}
    assert fit(model, digits).keys() == columns | {"online_top1"}
    z = model.predict(digits.test.images, verbose=0)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-4)
    directions = model.directions()
    if directions is not None:
        assert directions.shape[1] == z.shape[1]
        np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, rtol=1e-5)


def test_every_term_pulls_on_the_encoder(method, digits, views):
    model = make(method)
    fit(model, digits)
    views = [tf.constant(view) for view in views]
    targets = model.targets(views, 12)
    with tf.GradientTape(persistent=True) as tape:
        terms = [ops.sum(term) for term in model.losses(views, targets, 12).terms]
    kernel = model.encoder.trainable_variables[0].value
    for name, term in zip(model.terms, terms, strict=True):
        assert np.abs(tape.gradient(term, kernel)).max() > 0, name
    trained = {id(v) for v in model.trainable_variables}
    slow = [getattr(model, name, None) for name in ("key_encoder", "key_head")]
    assert not trained & {id(v) for network in slow if network for v in network.variables}


def test_it_is_saved_whole_and_goes_on(method, digits, tmp_path):
    model = make(method, total_steps=9)
    fit(model, digits)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    configs = [each.get_config() for each in (again, model)]
    assert all(config.pop("encoder") for config in configs)  # it numbers its layers anew
    assert configs[0] == configs[1] and SMALL[method].items() <= configs[1].items()
    for epochs in (0, 1):
        if epochs:
            fit(model, digits, epochs), fit(again, digits, epochs)
        for own, other in zip(again.weights, model.weights, strict=True):
            np.testing.assert_array_equal(own.numpy(), other.numpy(), err_msg=own.path)


def test_a_nan_stops_it(method, digits):
    model = make(method)
    kernel = model.head.trainable_weights[-1]
    kernel.assign(ops.full(kernel.shape, np.nan))
    with pytest.raises(FloatingPointError, match="no longer finite at step 1"):
        fit(model, digits)


def test_a_batch_of_one_image_is_finite(method, digits):
    """As the last of an epoch may be."""
    model = make(method)
    history = fit(model, digits, images=41)
    assert np.isfinite(history["loss"]).all()
    assert all(np.isfinite(weight.numpy()).all() for weight in model.weights)


def test_xla_trains_as_the_step_without_it(method, digits):
    """Within what rounding does to nine steps: 2e-3 of weights and 1e-3 of losses."""
    trained = []
    for compiled in (False, True):
        model = make(method, compiled, total_steps=9)
        trained.append((model, fit(model, digits, epochs=3, on_device=compiled)))
    (plain, history), (model, same) = trained
    for own, other in zip(model.weights, plain.weights, strict=True):
        np.testing.assert_allclose(own.numpy(), other.numpy(), atol=2e-3, err_msg=own.path)
    for name, values in history.items():
        assert same[name] == pytest.approx(values, rel=1e-3, abs=1e-4), name


def test_images_too_few_for_a_batch_are_refused_by_name(method, digits):
    model = make(method)
    assert issubclass(type(model), Method)
    least = METHODS[method].least_batch
    assert type(model).least_batch == least
    if least > 1:
        with pytest.raises(ValueError, match=f"`batch_size` should be at least {least} for "):
            model.fit(digits.train.images[:9], batch_size=least - 1)
