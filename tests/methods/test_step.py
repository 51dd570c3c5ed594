"""The step that all methods share: where images lie, and what is compiled."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_cueco import make

from cueco_tf import TwoViews
from cueco_tf.data import resident
from cueco_tf.methods.two_views import TwoViewModel

OPTIONS = dict(total_steps=12, warmup_steps=2, refresh_steps=4, num_classes=100)


@pytest.fixture(scope="module")
def images(cifar):
    return cifar.train.images[:90]


@pytest.fixture(scope="module")
def labels(cifar):
    return cifar.train.labels[:90]


def trained(images, labels, compiling=None, **fitting):
    model = make(**OPTIONS)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), **(compiling or {}))
    history = model.fit(images, labels, batch_size=32, epochs=4, verbose=0, **fitting).history
    return model, history


@pytest.fixture(scope="module")
def plain(images, labels):
    """Trained as on a CPU: four epochs of two batches of 32 and one of 26."""
    return trained(images, labels)


def assert_alike(got, expected, atol):
    model, history = got
    for own, other in zip(model.weights, expected[0].weights, strict=True):
        np.testing.assert_allclose(own.numpy(), other.numpy(), atol=atol, err_msg=own.path)
    for name, values in expected[1].items():
        assert history[name] == pytest.approx(values, rel=1e-3, abs=1e-4), name


def test_images_on_the_device_give_the_same_views(plain, images, labels):
    assert_alike(trained(images, labels, on_device=True), plain, atol=1e-5)


def test_images_too_many_for_the_device_are_sent_as_they_are(plain, images, labels, monkeypatch):
    """Not as views: as uint8, with what was drawn for them."""
    monkeypatch.setattr(resident, "LARGEST", images.nbytes - 1)
    sent = []

    make_views = TwoViewModel.views_of

    def views_of(self, batch):
        sent.append(batch[0])
        return make_views(self, batch)

    monkeypatch.setattr(TwoViewModel, "views_of", views_of)
    several = trained(images, labels, compiling=dict(steps_per_execution=2), on_device=True)
    assert {each.pixels.dtype for each in sent} == {tf.uint8}
    assert_alike(several, plain, atol=1e-5)


def test_several_steps_between_two_looks_end_with_the_epoch(plain, images, labels):
    looks = []
    look = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: looks.append(batch)
    )
    several = trained(
        images, labels, compiling=dict(steps_per_execution=2), on_device=True, callbacks=[look]
    )
    assert len(looks) == 8  # two and one of the three steps of each epoch
    assert int(several[0].step.numpy()) == 12
    assert_alike(several, plain, atol=1e-5)


def test_xla_trains_as_the_step_without_it(plain, images, labels):
    """The loop over several steps with it."""
    compiling = dict(jit_compile=True, steps_per_execution=2)
    assert_alike(trained(images, labels, compiling=compiling, on_device=True), plain, atol=2e-3)


def test_weights_moved_by_one_compiled_function_move_as_without_it(plain, images, labels):
    compiled = trained(images, labels, compiling=dict(jit_compile="update"))
    assert_alike(compiled, plain, atol=2e-3)

    def calls(model):
        batch = next(iter(tf.data.Dataset.from_tensors(((images[:8] / 1.0,) * 2, labels[:8]))))
        graph = tf.function(model.train_step).get_concrete_function(batch).graph
        return sum("_XlaMustCompile" in str(op.node_def.attr) for op in graph.get_operations())

    assert calls(compiled[0]) == 2 and calls(plain[0]) == 0


@pytest.mark.parametrize("steps_per_execution", [1, 2])
def test_the_step_is_compiled_once_a_batch_size(tmp_path, steps_per_execution):
    """XLA writes down each program that it compiles: over four epochs with a smaller last batch,
    the start of the clusters and refreshes it should be two of the step."""
    script = """
import keras, numpy as np
from test_cueco import make

from cueco_tf import TwoViews
from cueco_tf.data import resident
images = np.random.default_rng(0).integers(0, 256, (90, 32, 32, 3), np.uint8)
model = make(total_steps=12, warmup_steps=2, refresh_steps=4)
sgd = keras.optimizers.SGD(0.05, momentum=0.9)
model.compile(sgd, jit_compile=True, steps_per_execution=STEPS)
for _ in range(2):
    model.fit(images, batch_size=32, epochs=2, verbose=0, on_device=True)
assert int(model.step.numpy()) == 12 and float(keras.ops.sum(model.clusters.usage)) > 0.9
"""
    flags = f"--xla_dump_to={tmp_path} --xla_dump_hlo_module_re=.*step.*"
    done = subprocess.run(
        [sys.executable, "-c", script.replace("STEPS", str(steps_per_execution))],
        env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": str(Path(__file__).parents[1])},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("*step*before_optimizations.txt"))) == 2


def test_no_variable_of_the_step_is_int32(plain):
    """TensorFlow keeps those on the CPU, where a compiled step on a GPU cannot reach them."""
    model, _ = plain
    everything = [*model.variables, *model.optimizer.variables]
    assert {v.dtype for v in everything if not v.dtype.startswith("float")} == {"int64"}


def test_images_on_the_device_are_kept_from_fit_to_fit(images, labels):
    model = make(total_steps=12, num_classes=100)
    model.fit(images, labels, batch_size=32, verbose=0, on_device=True)
    first, function = model._resident, model.train_function
    model.fit(images, labels.copy(), batch_size=32, verbose=0, on_device=True)
    assert model._resident is first and model.train_function is function
    model.fit(images[:64], batch_size=32, verbose=0, on_device=True)
    assert model._resident is not first
    model.fit(images, batch_size=32, verbose=0)
    assert model._resident is None


def test_a_fit_on_the_device_after_one_that_streamed_makes_another_step(plain, images, labels):
    model = make(**OPTIONS)
    model.fit(images.astype("float32"), labels, batch_size=32, epochs=2, verbose=0)
    model.fit(images, labels, batch_size=32, epochs=1, verbose=0, on_device=True)
    model.augment = TwoViews(flip=0.0)  # is taken up, though the images stay
    first = model._resident
    model.fit(images, labels, batch_size=32, epochs=1, verbose=0, on_device=True)
    assert model._resident is not first and model._resident.augment.flip == 0
    losses = [np.isfinite(weight.numpy()).all() for weight in model.weights]
    assert all(losses) and int(model.step.numpy()) == 12


def test_a_data_set_of_unknown_length_is_looked_at_each_step(images):
    batches = tf.data.Dataset.from_tensor_slices(images).batch(32).filter(lambda _: True)
    looks = []
    look = keras.callbacks.LambdaCallback(on_train_batch_end=lambda _, logs: looks.append(logs))
    model = make(total_steps=12)
    model.compile(keras.optimizers.SGD(0.05), steps_per_execution=4)
    history = model.fit(batches, epochs=2, verbose=0, callbacks=[look]).history
    assert len(looks) == 6 and all("loss" in logs for logs in looks)
    assert int(model.step.numpy()) == 6 and len(history["info_nce"]) == 2


def test_prediction_is_neither_compiled_nor_unrolled(images):
    model = make()
    expected = model.predict(images, batch_size=16, verbose=0)
    model.compile(keras.optimizers.SGD(0.05), jit_compile=True, steps_per_execution=4)
    np.testing.assert_array_equal(model.predict(images, batch_size=16, verbose=0), expected)
    assert model.jit_compile and model.steps_per_execution == 4
    graph = model.predict_function.get_concrete_function(
        [(tf.constant(images[:16].astype("float32")),)]
    ).graph
    calls = [str(op.node_def.attr) for op in graph.get_operations()]
    assert not any("_XlaMustCompile" in attributes for attributes in calls)


def test_a_model_that_was_never_compiled_is_saved(tmp_path):
    make().save(tmp_path / "compiled.keras")
    loaded = keras.models.load_model(tmp_path / "compiled.keras")
    fresh = type(loaded).from_config(loaded.get_config())
    fresh.save(tmp_path / "fresh.keras")
    again = keras.models.load_model(tmp_path / "fresh.keras")
    assert loaded.compiled and not fresh.compiled and not again.compiled


def test_a_fit_on_the_device_goes_on_in_the_middle_of_an_epoch(plain, images, labels):
    model = make(**OPTIONS)
    fitting = dict(batch_size=32, verbose=0, on_device=True)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), steps_per_execution=4)
    # Four, four (which end in the third epoch), and the four that are left: an epoch has three.
    for _ in range(3):
        model.fit(images, labels, steps_per_epoch=4, **fitting)
    for own, other in zip(model.weights, plain[0].weights, strict=True):
        np.testing.assert_allclose(own.numpy(), other.numpy(), atol=1e-5, err_msg=own.path)
