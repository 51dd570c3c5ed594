"""Every door that is inherited from Keras: served as users expect, or refused in our words."""

import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_methods import make, small_encoder

from cueco_tf import BYOL, CueCo, SimCLR, build_encoder
from cueco_tf.data.augment import TwoViews
from cueco_tf.evaluation import knn_accuracy
from cueco_tf.settings.methods import METHODS

DOOR = dict(batch_size=40, verbose=0)


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


@pytest.fixture(scope="module")
def images(digits):
    return digits.train.images[:100]


@pytest.fixture(scope="module")
def labels(digits):
    return digits.train.labels[:100]


@pytest.fixture(scope="module")
def held(digits):
    """Images and labels of the test split."""
    return digits.test.images[:60], digits.test.labels[:60]


def state(model):
    return [variable.numpy() for variable in (*model.weights, *model.optimizer.variables)]


class Batches(keras.utils.PyDataset):
    """Twenty images a batch."""

    def __init__(self, images, labels):
        super().__init__()
        self.images, self.labels, self.ended = images, labels, 0

    def __len__(self):
        return len(self.images) // 20

    def __getitem__(self, i):
        part = slice(20 * i, 20 * i + 20)
        return self.images[part], self.labels[part]

    def on_epoch_end(self):
        self.ended += 1


# Validation and evaluation.


def test_validation_reports_every_loss_and_k_nn(method, images, labels, held):
    model = make(method)
    history = model.fit(images, labels, epochs=2, validation_data=held, **DOOR).history
    names = {"loss", *METHODS[method].terms, "online_top1"}
    assert {n for n in history if n.startswith("val_")} == {
        f"val_{n}" for n in (*names, "knn_top1")
    }
    assert all(np.isfinite(history[name]).all() for name in history)
    before = state(model)
    found = model.evaluate(*held, return_dict=True, **DOOR)
    for name, value in found.items():
        assert history[f"val_{name}"][-1] == pytest.approx(value, rel=1e-5), name
    assert model.evaluate(*held, **DOOR) == pytest.approx(list(found.values()))
    for own, expected in zip(state(model), before, strict=True):
        np.testing.assert_array_equal(own, expected)  # nothing is learnt from them
    h, test_h = (model.encoder.predict(x, verbose=0) for x in (images, held[0]))
    expected = knn_accuracy(h, labels, test_h, held[1])
    assert history["val_knn_top1"][-1] == pytest.approx(expected)


def test_validation_changes_nothing_of_training(method, images, labels, held):
    plain, validated = make(method), make(method)
    history = plain.fit(images, labels, epochs=2, **DOOR).history
    other = validated.fit(images, labels, epochs=2, validation_data=held, **DOOR).history
    assert {name: other[name] for name in history} == history
    for own, expected in zip(validated.weights, plain.weights, strict=True):
        np.testing.assert_array_equal(own.numpy(), expected.numpy(), err_msg=own.path)


def test_the_losses_of_evaluate_are_those_of_inference_on_fixed_views(method, images, held):
    """Against the method's own losses of the same views, as one batch."""
    model = make(method)
    model.fit(images, **DOOR)
    views = [tf.constant(each) for each in model.augment(held[0], (1, -1))]
    model.learning = False
    terms = model.losses(views, model.targets(views, 60), 60).terms
    model.learning = True
    found = model.evaluate(held[0], batch_size=60, verbose=0, return_dict=True)
    for name, term in zip(model.terms, terms, strict=True):
        assert found[name] == pytest.approx(np.mean(term), rel=1e-4, abs=1e-6), name
    assert "online_top1" not in found  # no labels


def test_early_stopping_and_checkpoints_go_by_the_held_out_loss(images, held, tmp_path):
    model = make("simclr")
    watch = [
        keras.callbacks.EarlyStopping("val_loss", mode="max", patience=0),  # at once
        keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", "val_loss", save_best_only=True),
        keras.callbacks.ReduceLROnPlateau("val_loss", patience=0, min_delta=100),
    ]
    history = model.fit(
        images,
        epochs=20,
        validation_data=held[0],
        callbacks=watch,
        validation_batch_size=30,
        **DOOR,
    ).history
    assert len(history["val_loss"]) < 20
    best = keras.models.load_model(tmp_path / "best.keras")
    found = best.evaluate(held[0], batch_size=30, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(min(history["val_loss"]), rel=1e-5)


def test_every_kind_of_data_trains_and_validates_alike(images, labels, held):
    """Arrays, `tf.data`, a PyDataset and a generator of the same batches, on either side."""
    dataset = tf.data.Dataset.from_tensor_slices

    def generator(pictures, classes):
        for start in range(0, len(pictures), 20):
            yield pictures[start : start + 20], classes[start : start + 20]

    kinds = {
        "tf.data": lambda x, y: dataset((x, y)).batch(20),
        "PyDataset": Batches,
        "lists": lambda x, y: _Batches(x, y),
        "generator": generator,
    }
    losses = {}
    for name, kind in kinds.items():
        model = make("moco_v2", total_steps=5)
        once = dict(steps_per_epoch=5) if name == "generator" else {}
        data = kind(images, labels)
        held_out = held if name == "generator" else kind(*held)
        history = model.fit(
            data, verbose=0, validation_data=held_out, validation_batch_size=20, **once
        ).history
        losses[name] = history["loss"] + history["val_loss"]
        if name == "PyDataset":
            assert data.ended >= 1
        assert ("val_knn_top1" in history) == (name != "generator")
    for name, found in losses.items():
        assert found == pytest.approx(losses["tf.data"], rel=1e-5), name
    as_arrays = make("moco_v2", total_steps=5).evaluate(*held, batch_size=20, verbose=0)
    as_batches = make("moco_v2", total_steps=5).evaluate(dataset(held).batch(20), verbose=0)
    assert as_arrays == pytest.approx(as_batches)


class _Batches:
    """As PyTorch's DataLoader: iterable anew, with a length."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images) // 20

    def __iter__(self):
        for i in range(len(self)):
            part = slice(20 * i, 20 * i + 20)
            yield [self.images[part], self.labels[part]]


def test_validation_split_holds_the_last_images_out(images, labels):
    split, given = make("byol"), make("byol")
    history = split.fit(images, labels, validation_split=0.4, epochs=2, **DOOR).history
    data = images[60:], labels[60:]
    other = given.fit(images[:60], labels[:60], validation_data=data, epochs=2, **DOOR).history
    assert history == other
    every = make("byol").fit(images, validation_split=0.4, epochs=3, validation_freq=2, **DOOR)
    assert len(every.history["val_loss"]) == 1
    for bad, message in ((1.0, r"share in \(0, 1\)"), (0.999, "leaves images")):
        with pytest.raises(ValueError, match=f"`validation_split` should be a .*{message}"):
            split.fit(images, validation_split=bad, **DOOR)
    with pytest.raises(ValueError, match=r"divides arrays.*`validation_data`.*BatchDataset"):
        split.fit(tf.data.Dataset.from_tensor_slices(images).batch(9), validation_split=0.5)


def test_two_replicas_evaluate_as_one(held, mirrored):
    found = []
    for strategy in (tf.distribute.get_strategy(), mirrored):
        with strategy.scope():
            model = make("vicreg")
        history = model.fit(
            held[0], held[1], epochs=2, validation_data=held, batch_size=24, verbose=0
        )
        again = model.evaluate(*held, batch_size=24, verbose=0, return_dict=True)
        assert history.history["val_loss"][-1] == pytest.approx(again["loss"], rel=1e-5)
        found.append(history.history)
    for name, values in found[0].items():
        assert found[1][name] == pytest.approx(values, rel=2e-3, abs=1e-4), name


# Batches by hand.


def test_train_on_batch_is_a_step_of_fit(method, images, labels):
    by_hand, fitted = make(method, total_steps=3), make(method, total_steps=3)
    batches = [(images[i : i + 40], labels[i : i + 40]) for i in (0, 40, 60)]
    for x, y in batches:
        logs = by_hand.train_on_batch(x, y, return_dict=True)
        history = fitted.fit(tf.data.Dataset.from_tensors((x, y)), verbose=0).history
        assert logs == pytest.approx({name: values[0] for name, values in history.items()})
    assert int(by_hand.step) == 3
    for own, expected in zip(by_hand.weights, fitted.weights, strict=True):
        if not own.path.startswith("settled"):
            np.testing.assert_array_equal(own.numpy(), expected.numpy(), err_msg=own.path)
    x, y = batches[0]
    found = by_hand.test_on_batch(x, y, return_dict=True)
    expected = by_hand.evaluate(x, y, batch_size=40, verbose=0, return_dict=True)
    assert found == pytest.approx(expected)
    assert by_hand.train_on_batch(x)[0] > 0


# What is exported, and the forms of what is given.


def test_a_model_is_exported_as_what_it_computes(images, tmp_path):
    model = make("cueco")
    model.export(tmp_path / "model", verbose=False)
    artifact = tf.saved_model.load(tmp_path / "model")
    served = artifact.serve(images.astype("float32"))
    np.testing.assert_allclose(served, model.predict(images, verbose=0), atol=1e-5)


def test_callbacks_come_in_each_of_keras_s_forms(images):
    ended = []
    one = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: ended.append(logs["loss"])
    )
    model = make("simclr")
    for given in (one, [one], (one,), keras.callbacks.CallbackList([one])):
        history = model.fit(images, callbacks=given, **DOOR)
        assert history.history["loss"] == [pytest.approx(float(ended[-1]))]
    assert len(ended) == 4


def test_the_summary_and_the_configuration_are_there(method, capsys):
    model = make(method)
    model.summary()
    assert "head" in capsys.readouterr().out
    again = type(model).from_config(model.get_config())
    assert [each.shape for each in again.weights] == [each.shape for each in model.weights]


# Augmentation.


def test_a_layer_of_keras_makes_both_views(images, tmp_path):
    layer = keras.Sequential(
        [keras.layers.RandomFlip(), keras.layers.RandomTranslation(0.2, 0.2, fill_mode="nearest")]
    )
    model = make("moco_v2", augment=layer, total_steps=6)
    one, other = model.augment(images, (1, 0))
    assert np.abs(one - other).max() > 1 and one.dtype == tf.float32
    again = model.augment(images, (1, 0))
    np.testing.assert_array_equal(one, again[0])
    np.testing.assert_array_equal(other, again[1])
    assert np.abs(one - model.augment(images, (1, 1))[0]).max() > 1
    # Whatever was drawn before: training goes on with the same views.
    model.fit(images, **DOOR)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    layer(images.astype("float32"), training=True)
    for each in (model, loaded):
        each.fit(images, **DOOR)
    for own, expected in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(own.numpy(), expected.numpy(), err_msg=own.path)


@pytest.mark.parametrize(
    "augment, message",
    [
        (lambda images: images, r"function of \(images, seed\)"),
        ("flip", r"function of \(images, seed\).*Received: augment='flip'"),
        (keras.layers.CenterCrop(8, 8), r"images as large as those it gets.*\(1, 8, 8, 3\)"),
    ],
)
def test_another_augmentation_is_refused_at_once(augment, message):
    with pytest.raises(ValueError, match=message):
        make("simclr", augment=augment)


# Encoders.


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    """As Keras's guide writes one."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.conv = keras.layers.Conv2D(width, 3, strides=2, activation="relu")
        self.norm = keras.layers.BatchNormalization(momentum=0.5)
        self.pool = keras.layers.GlobalAveragePooling2D()

    def call(self, images, training=None):
        return self.pool(self.norm(self.conv(images / 255), training=training))

    def get_config(self):
        return {**super().get_config(), "width": self.width}


def any_size(channels=3):
    x = inputs = keras.Input((None, None, channels))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(keras.layers.Rescaling(1 / 255)(x))
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))


def unbuilt():
    return keras.Sequential(
        [
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(8, 3, strides=2),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )


def application():
    return keras.applications.MobileNetV2(
        include_top=False, weights=None, pooling="avg", alpha=0.35
    )


@pytest.mark.parametrize(
    "make_encoder, size",
    [(lambda: Subclassed(8), 16), (any_size, 16), (unbuilt, 16), (application, 32)],
)
def test_any_encoder_of_keras_is_trained_with_a_size(make_encoder, size, images, tmp_path):
    keras.utils.set_random_seed(0)
    images = images.repeat(size // 16, axis=1).repeat(size // 16, axis=2)
    model = CueCo(make_encoder(), 3, queue_size=40, hidden_dim=8, projection_dim=4, image_size=size)
    model.compile(keras.optimizers.SGD(0.01))
    before = model.encoder.trainable_weights[0].numpy()
    history = model.fit(images, epochs=2, **DOOR).history
    assert np.isfinite(history["loss"]).all()
    assert not np.array_equal(model.encoder.trainable_weights[0].numpy(), before)
    assigned = model.assign(images)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.assign(images), assigned)
    assert again.image_shape == (size, size, 3)


def one_channel():
    inputs = keras.Input((16, 16, 1))
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))


def channels_first():
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D(data_format="channels_first")(inputs)
    return keras.Model(inputs, x)


def without_pooling():
    inputs = keras.Input((16, 16, 3))
    return keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs))


def in_double():
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, dtype="float64")(inputs)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))


class Closed(keras.Model):
    """Cannot be made anew."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, images):
        return keras.ops.mean(self.layer(images), axis=(1, 2))

    def get_config(self):
        raise NotImplementedError("no configuration")


@pytest.mark.parametrize(
    "encoder, options, message",
    [
        ("resnet18", {}, r"`encoder` should be a Keras model.*build_encoder.*'resnet18'"),
        (keras.applications.MobileNetV2, {}, "`encoder` should be a Keras model"),
        (any_size, {}, "any size: say which they are with `image_size`"),
        (lambda: Subclassed(8), {}, "any size: say which they are with `image_size`"),
        (any_size, {"image_size": 2}, r"`encoder` cannot be called on 2x2x3 images: "),
        (any_size, {"image_size": 0}, r"`image_size` should be .* >= 1. Received: image_size=0"),
        (any_size, {"image_size": "16"}, "`image_size` should be"),
        (small_encoder, {"image_size": 32}, "should be that of the encoder, 16x16, or None"),
        (channels_first, {}, r"should take channels last.*has channels first"),
        (without_pooling, {}, r"to features \(n, features\).*pooling"),
        (in_double, {}, "The weights of `encoder` should be float32. Received: float64"),
        (
            lambda: Closed(keras.layers.Conv2D(4, 3)),
            {"image_size": 16},
            "made anew from its `get_config`.*Closed cannot: no configuration",
        ),
    ],
)
def test_other_encoders_are_refused_at_once(encoder, options, message):
    made = encoder() if callable(encoder) and "applications" not in encoder.__module__ else encoder
    with pytest.raises(ValueError, match=message):
        SimCLR(made, hidden_dim=8, projection_dim=4, **options)


def test_pictures_of_any_channels_train():
    pictures = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 1), np.uint8)
    for augment in (None, keras.layers.RandomFlip()):
        model = SimCLR(one_channel(), 8, 4, augment=augment)
        model.compile(keras.optimizers.SGD(0.01))
        assert np.isfinite(model.fit(pictures, batch_size=32, verbose=0).history["loss"]).all()
    with pytest.raises(ValueError, match="uint16: make them float32 and divide by 257"):
        model.fit(pictures.astype(np.uint16), batch_size=32)
    with pytest.raises(ValueError, match=r"shape \(n, 16, 16, 1\).* \(64, 16, 16, 3\)"):
        model.fit(np.repeat(pictures, 3, axis=-1), batch_size=32)
    with pytest.warns(UserWarning, match="Images of 1 channels have no colours: the changes of"):
        SimCLR(one_channel(), 8, 4, augment=TwoViews())


# What Keras is set to.


def test_the_layout_is_ours_whatever_keras_is_set_to(images):
    keras.config.set_image_data_format("channels_first")
    try:
        encoder = build_encoder("resnet10", width=8, image_size=16)
        first = next(layer for layer in encoder.layers if "conv" in layer.name)
        assert first.output.shape == (None, 16, 16, 8)
        model = BYOL(encoder, hidden_dim=8, projection_dim=4, predictor_dim=4)
        model.compile(keras.optimizers.SGD(0.01))
        assert np.isfinite(model.fit(images, **DOOR).history["loss"]).all()
        assert model.encoder.predict(images, verbose=0).shape == (100, 64)
    finally:
        keras.config.set_image_data_format("channels_last")


@pytest.mark.parametrize("policy", ["float64", "bfloat16"])
def test_other_numbers_are_refused_when_a_model_is_made_or_trained(policy, images):
    model = make("simclr")
    keras.config.set_floatx(policy)
    try:
        for ask in (lambda: make("simclr"), lambda: model.fit(images, **DOOR)):
            with pytest.raises(ValueError, match=f"Weights should be float32.*{policy}"):
                ask()
    finally:
        keras.config.set_floatx("float32")


def test_other_backends_are_refused_at_once(tmp_path):
    """Before anything of theirs is imported; the commands take TensorFlow's."""
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(sys.path)}
    script = "import cueco_tf; cueco_tf.evaluation.knn_accuracy; cueco_tf.CueCo"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert re.match(r"ImportError: .*KERAS_BACKEND=tensorflow.*Received: jax", last)
    (tmp_path / "pictures").mkdir()
    for i in range(8):
        keras.utils.save_img(tmp_path / "pictures" / f"{i}.png", np.full((16, 16, 3), 30 * i))
    command = f"--dataset folder:{tmp_path / 'pictures'} --encoder resnet10 --width 1 --epochs 1"
    small = "--image-size 16 --batch-size 4 --queue-size 4 --clusters 2 --run-dir"
    done = subprocess.run(
        [*f"{sys.executable} -m cueco_tf.train {command} {small}".split(), tmp_path / "run"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


# What has no meaning here.


@pytest.mark.parametrize(
    "ask, message",
    [
        (lambda m, x: m.compile("sgd", loss="mse"), "`loss` cannot be used: SimCLR brings its own"),
        (lambda m, x: m.compile("sgd", "mse"), "`loss` cannot be used"),
        (lambda m, x: m.compile("sgd", metrics=["accuracy"]), "`metrics` cannot be used"),
        (lambda m, x: m.compile("sgd", jit_compile="mse"), "`jit_compile` should be"),
        (lambda m, x: m.fit(x, sample_weight=np.ones(100)), "`sample_weight` cannot be used"),
        (lambda m, x: m.fit(x, class_weight={0: 2}), "`class_weight` cannot be used"),
        (lambda m, x: m.fit(x, shuffle=False), "shuffled anew each epoch.*shuffle=False"),
        (lambda m, x: m.fit(x, validation_data=(x, None, x)), "`sample_weight` cannot be used"),
        (lambda m, x: m.evaluate(x, sample_weight=x), "`sample_weight` cannot be used"),
        (lambda m, x: m.train_on_batch(x, class_weight={}), "`class_weight` cannot be used"),
        (lambda m, x: m.test_on_batch(x, sample_weight=x), "`sample_weight` cannot be used"),
        (lambda m, x: m.fit(), r"Images should have shape \(n, 16, 16, 3\)"),
        (lambda m, x: m.fit({"images": x}), "Images should have shape"),
        (lambda m, x: m.evaluate(x[:, :8]), r"Received shape: \(100, 8, 16, 3\)"),
        (lambda m, x: m.fit(iter([])), "list_iterator yields no batch"),
        (lambda m, x: m.fit(x, validation_data=x[:, :8]), r"Received shape: \(100, 8, 16, 3\)"),
        (
            lambda m, x: m.evaluate(tf.data.Dataset.from_tensors(x).repeat()),
            "never ends: pass `steps`",
        ),
        (lambda m, x: m.train_on_batch(x[:, :8]), "should yield batches of 16x16x3 images"),
    ],
)
def test_what_has_no_meaning_is_refused_in_our_words(ask, message, images):
    with pytest.raises(ValueError, match=message):
        ask(make("simclr"), images)


def test_views_of_the_users_own_are_evaluated_as_they_are(images):
    model = make("simclr")
    views = TwoViews(crop_scale=(0.9, 1.0))(images[:40], (3, 3))
    found = model.evaluate(tf.data.Dataset.from_tensors(views), verbose=0)
    again = model.test_on_batch(tuple(view.numpy() for view in views))
    assert found == pytest.approx(again)
