import math
import warnings

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf

import cueco_tf
from cueco_tf import CueCo
from cueco_tf.methods.health import UsageMonitor
from cueco_tf.parts.batch_norm import FusedBatchNormalization
from cueco_tf.parts.clusters import VARIANCE_FLOOR, is_dead

STATE = {"queue", "queue_position", "centroids", "variances", "usage", "step"}


def small_encoder():
    """A network that is quick to trace; the residual ones have their own tests."""
    x = inputs = keras.Input((32, 32, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(x)
    for filters in (8, 32):
        x = keras.layers.Conv2D(filters, 3, 4, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU()(FusedBatchNormalization(momentum=0.9)(x))
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))


def make(num_clusters=5, seed=0, rate=0.05, **options):
    keras.utils.set_random_seed(seed)
    defaults = dict(queue_size=48, hidden_dim=16, projection_dim=8, seed=seed)
    model = CueCo(small_encoder(), num_clusters, **{**defaults, **options})
    model.compile(keras.optimizers.SGD(rate, momentum=0.9))
    return model


def weight(model, name):
    return next(w for w in model.weights if w.name == name)


@pytest.fixture(scope="module")
def images(cifar):
    return cifar.train.images[:96]


@pytest.fixture(scope="module")
def labels(cifar):
    return cifar.train.labels[:96]


@pytest.fixture(scope="module")
def trained(images):
    model = make()
    history = model.fit(images, batch_size=32, epochs=12, verbose=0).history
    return model, history


def test_all_state_exists_from_the_start_and_none_of_it_is_trained(images):
    model = make(num_classes=100)
    assert {w.name for w in model.non_trainable_weights} >= STATE
    trainable = {id(v) for v in model.trainable_variables}
    own = [model.encoder, model.head, model.probe]
    assert trainable == {id(v) for network in own for v in network.trainable_variables}
    model.trainable = False
    model.trainable = True
    assert {id(v) for v in model.trainable_variables} == trainable


def test_fit_needs_nothing_but_images(trained, images):
    model, history = trained
    assert int(model.step.value) == 36
    assert all(np.isfinite(values).all() for values in history.values())
    # Warm-up is three tenths of 36 steps, three of which make an epoch.
    assert history["usage_entropy"][2] == 0 and history["usage_entropy"][3] > 0
    assert history["key_momentum"][0] < history["key_momentum"][-1] < 0.999
    assert history["key_momentum"][-1] == pytest.approx(0.999, abs=1e-3)
    assert history["info_nce"][-1] < math.log(49)  # better than telling nothing apart
    centroids = weight(model, "centroids").numpy()
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, rtol=1e-5)
    assert weight(model, "usage").numpy().sum() == pytest.approx(1, abs=1e-5)
    assert weight(model, "variances").numpy().min() >= VARIANCE_FLOOR
    assert not keras.ops.convert_to_numpy(is_dead(weight(model, "usage").value)).any()


def test_z_is_normalised_and_assign_is_its_nearest_centroid(trained, images):
    model, _ = trained
    z = model.predict(images, verbose=0)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-5)
    expected = (z @ weight(model, "settled").numpy().T).argmax(axis=1)
    got = model.assign(images, batch_size=40)
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, expected)
    assert model.encoder.predict(images, verbose=0).shape == (96, 32)


def test_images_are_assigned_by_a_model_that_is_not_compiled(trained, images):
    model, _ = trained
    copy = CueCo.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    np.testing.assert_array_equal(copy.assign(images), model.assign(images))


def test_a_saved_model_comes_back_whole(trained, images, tmp_path):
    model, _ = trained
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    configs = [each.get_config() for each in (again, model)]
    assert all(config.pop("encoder") for config in configs)  # it numbers its layers anew
    assert configs[0] == configs[1]
    for own, other in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(own.numpy(), other.numpy())
    np.testing.assert_array_equal(again.assign(images), model.assign(images))
    # It goes on training where the other would.
    for each in (model, again):
        each.fit(images, batch_size=32, epochs=1, verbose=0)
    np.testing.assert_array_equal(weight(again, "queue").numpy(), weight(model, "queue").numpy())


def test_weights_load_before_fit(trained, tmp_path):
    model, _ = trained
    model.save_weights(tmp_path / "model.weights.h5")
    fresh = make(seed=1)
    fresh.load_weights(tmp_path / "model.weights.h5")
    for own, other in zip(fresh.weights, model.weights, strict=True):
        np.testing.assert_array_equal(own.numpy(), other.numpy())


def test_two_fits_equal_one(images):
    options = dict(total_steps=12, warmup_steps=2)
    once, twice = make(**options), make(**options)
    once.fit(images, batch_size=32, epochs=4, verbose=0)
    for _ in range(2):
        twice.fit(images, batch_size=32, epochs=2, verbose=0)
    for own, other in zip(once.weights, twice.weights, strict=True):
        np.testing.assert_array_equal(own.numpy(), other.numpy())


def test_training_traces_once(images):
    traces = []

    class Counted(CueCo):
        def train_step(self, data):
            traces.append(data)
            return super().train_step(data)

    model = Counted(small_encoder(), 5, queue_size=48, projection_dim=8)
    model.compile(keras.optimizers.SGD(0.05))
    for _ in range(2):
        model.fit(images[:70], batch_size=32, epochs=2, verbose=0)  # with a smaller last batch
    assert len(traces) == 1
    assert int(model.step.value) == 12


def plain_moco_step(encoder, key_encoder, head, key_head, queue, position, views, rate, momentum):
    """One step of MoCo as its paper's pseudo-code has it, on networks of two models."""
    for own, other in ((key_encoder, encoder), (key_head, head)):
        for slow, fast in zip(own.weights, other.weights, strict=True):
            if fast.trainable:
                slow.assign(momentum * slow + (1 - momentum) * fast)
    k = tf.math.l2_normalize(key_head(key_encoder(views[1], training=True)), axis=1)
    variables = encoder.trainable_variables + head.trainable_variables
    with tf.GradientTape() as tape:
        q = tf.math.l2_normalize(head(encoder(views[0], training=True)), axis=1)
        positive = tf.reduce_sum(q * k, axis=1, keepdims=True)
        logits = tf.concat([positive, q @ tf.transpose(queue)], axis=1) / 0.2
        zeros = tf.zeros(len(q), tf.int32)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=zeros, logits=logits)
        loss = tf.reduce_mean(loss)
    gradients = tape.gradient(loss, variables)
    for variable, gradient in zip(variables, gradients, strict=True):
        variable.assign_sub(rate * gradient)
    slots = [(position + i) % len(queue) for i in range(len(k))]
    queue = tf.tensor_scatter_nd_update(queue, [[slot] for slot in slots], k)
    return loss, queue, (position + len(k)) % len(queue)


def test_without_the_pull_it_is_moco(images):
    rate, momentum = 0.05, 0.9
    model = make(loss_weights=(1, 0, 0), key_momentum=momentum, warmup_steps=0)
    model.compile(keras.optimizers.SGD(rate))
    encoder, key_encoder = (keras.models.clone_model(model.encoder) for _ in range(2))
    head, key_head = (keras.models.clone_model(model.head) for _ in range(2))
    for network, source in ((encoder, model.encoder), (key_encoder, model.encoder)):
        network.set_weights(source.get_weights())
    for network in (head, key_head):
        network.set_weights(model.head.get_weights())
    queue, position = tf.zeros((48, 8)), 0
    pairs = [
        (images[i : i + 20].astype("float32"), images[i + 20 : i + 40].astype("float32"))
        for i in (0, 20, 40, 50)
    ]
    for views in pairs:  # 20 does not divide 48: the queue wraps
        loss, queue, position = plain_moco_step(
            encoder, key_encoder, head, key_head, queue, position, views, rate, momentum
        )
        data = tf.data.Dataset.from_tensors(views)
        logs = model.fit(data, epochs=1, verbose=0).history
        assert logs["loss"][0] == pytest.approx(float(loss), rel=1e-4)
        assert logs["loss"] == logs["info_nce"]
    np.testing.assert_allclose(weight(model, "queue").numpy(), queue, atol=2e-4)
    for network, own in ((encoder, model.encoder), (head, model.head)):
        for expected, got in zip(network.weights, own.weights, strict=True):
            np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=2e-3, atol=2e-4)
    # The clusters follow all the same, without teaching.
    assert weight(model, "usage").numpy().sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("assign_by", ["key", "query"])
def test_a_step_of_the_whole_method_equals_the_formulas(images, assign_by):
    model = make(
        assign_by=assign_by, loss_weights=(1, 0.5, 0.25), warmup_steps=0, ramp_steps=8, seed=2
    )
    model.fit(images, batch_size=32, epochs=2, verbose=0)  # six steps
    before = {name: weight(model, name).numpy() for name in STATE}
    copy = CueCo.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    views = [images[:24].astype("float32"), images[24:48].astype("float32")]
    logs = model.fit(tf.data.Dataset.from_tensors(tuple(views)), verbose=0).history
    after = {name: weight(model, name).numpy() for name in STATE}

    copy.key_encoder.follow(copy.encoder, logs["key_momentum"][0])
    copy.key_head.follow(copy.head, logs["key_momentum"][0])
    k = reference.unit(copy.key_head(copy.key_encoder(views[1])))
    q = reference.unit(copy.head(copy.encoder(views[0], training=True)))
    assigned = ((k if assign_by == "key" else q) @ before["centroids"].T).argmax(axis=1)
    l1 = reference.info_nce(q, k, before["queue"], 0.2).mean()
    l2 = reference.centroid_contrast(q, before["centroids"], assigned, 0.05).mean()
    clusters = before["centroids"], before["variances"]
    l3 = reference.cluster_variance(q, *clusters, assigned).mean()
    for name, expected in (
        ("info_nce", l1),
        ("centroid_contrast", l2),
        ("cluster_variance", l3),
        ("loss", l1 + 6 / 8 * (0.5 * l2 + 0.25 * l3)),
    ):
        assert logs[name][0] == pytest.approx(expected, rel=2e-3), name
    expected = reference.update(*clusters, k, assigned, 0.5, 0.5, VARIANCE_FLOOR)
    if logs["reseeded_clusters"][0] == 0:
        np.testing.assert_allclose(after["centroids"], expected[0], atol=1e-4)
        np.testing.assert_allclose(after["variances"], expected[1], rtol=1e-3)
    start = int(before["queue_position"])
    slots = (start + np.arange(24)) % 48
    np.testing.assert_allclose(after["queue"][slots], k, atol=1e-4)
    assert after["queue_position"] == (start + 24) % 48 and after["step"] == before["step"] + 1


def test_the_clusters_wait_for_the_warm_up_and_for_a_full_queue(images):
    late = make(warmup_steps=5, total_steps=20)
    history = late.fit(images, batch_size=32, epochs=2, verbose=0).history
    # Three steps an epoch: they start at the end of the fifth and first teach in the sixth.
    assert history["usage_entropy"][0] == 0 and history["centroid_contrast"][0] == 0
    assert history["usage_entropy"][1] > 0 and history["centroid_contrast"][1] > 0
    unfilled = make(warmup_steps=0, queue_size=90)
    history = unfilled.fit(images, batch_size=32, epochs=2, verbose=0, steps_per_epoch=2).history
    assert history["usage_entropy"][0] == 0 and history["usage_entropy"][1] > 0


def test_dead_clusters_are_mended_and_counted(images):
    model = make(num_clusters=6, warmup_steps=0)
    model.fit(images, batch_size=32, epochs=2, verbose=0)
    usage = weight(model, "usage").numpy()
    usage[2] = 1e-6
    weight(model, "usage").assign(usage / usage.sum())
    weight(model, "centroids").assign(
        np.where(
            np.arange(6)[:, None] == 2,
            -weight(model, "centroids").numpy().mean(0),
            weight(model, "centroids").numpy(),
        )
    )
    history = model.fit(images[:32], batch_size=32, epochs=1, verbose=0).history
    assert history["reseeded_clusters"][0] >= 1 and history["dead_clusters"][0] == 0


def test_symmetric_loss_uses_both_directions(images):
    model = make(symmetric=True, key_momentum=1.0, rate=1e-12)
    views = (images[:16].astype("float32"), images[16:32].astype("float32"))
    copy = CueCo.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    k = [reference.unit(copy.key_head(copy.key_encoder(view))) for view in views]
    q = [reference.unit(copy.head(copy.encoder(view, training=True))) for view in views]
    empty = np.zeros((48, 8))
    expected = np.mean(
        [reference.info_nce(q[0], k[1], empty, 0.2), reference.info_nce(q[1], k[0], empty, 0.2)]
    )
    logs = model.fit(tf.data.Dataset.from_tensors(views), verbose=0).history
    assert logs["info_nce"][0] == pytest.approx(expected, rel=1e-3)
    np.testing.assert_allclose(
        weight(model, "queue").numpy()[:32], np.concatenate([k[1], k[0]]), atol=1e-3
    )


def test_the_online_probe_learns_without_teaching(images, labels):
    options = dict(total_steps=18, warmup_steps=4)
    with_probe, without = make(num_classes=100, **options), make(**options)
    history = with_probe.fit(images, labels, batch_size=32, epochs=6, verbose=0).history
    plain = without.fit(images, batch_size=32, epochs=6, verbose=0).history
    assert history["loss"] == pytest.approx(plain["loss"], rel=1e-6)
    for own, other in zip(with_probe.encoder.weights, without.encoder.weights, strict=True):
        np.testing.assert_allclose(own.numpy(), other.numpy(), rtol=1e-4, atol=1e-6)
    assert history["online_top1"][-1] > history["online_top1"][0]
    unlabelled = make(num_classes=100)
    kernel = unlabelled.probe.dense.kernel.numpy().copy()
    unlabelled.fit(images, np.full(96, -1), batch_size=32, verbose=0)
    np.testing.assert_array_equal(unlabelled.probe.dense.kernel.numpy(), kernel)


def test_bad_labels_are_refused(images, labels):
    model = make(num_classes=10)
    for bad, message in (
        (labels[:-1], "96 images, but 95 labels"),
        (labels.astype(float), "integers"),
        (np.full(96, 10), "below num_classes=10"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(images, bad, verbose=0)


def test_unknown_length_keeps_the_momentum_and_says_so(images):
    data = tf.data.Dataset.from_tensor_slices(images).batch(32).filter(lambda batch: True)
    model = make()
    with pytest.warns(UserWarning, match="length of the dataset is unknown"):
        history = model.fit(data, epochs=2, verbose=0).history
    assert history["key_momentum"] == pytest.approx([0.99, 0.99])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "Your input ran out of data")  # Keras, at an epoch's end
        make(total_steps=6).fit(data, epochs=2, verbose=0)


def test_a_queue_longer_than_the_data_gets_a_warning(images):
    with pytest.warns(UserWarning, match="queue of 200 keys is longer"):
        make(queue_size=200).fit(images, batch_size=48, verbose=0)


def test_nan_stops_training_with_a_clear_error(images):
    model = make()
    model.head.weights[2].assign(np.full(model.head.weights[2].shape, np.nan))
    with pytest.raises(FloatingPointError, match="The loss is no longer finite at step 1"):
        model.fit(images, batch_size=32, verbose=0)
    # Bad pixels: oneDNN's ReLU may hide them from the loss, but not from the weights.
    poisoned = tf.data.Dataset.from_tensors(np.full((32, 32, 32, 3), np.nan, "float32"))
    with pytest.raises(FloatingPointError, match="no longer finite at step 1"):
        make().fit(poisoned, verbose=0)


def test_collapse_is_reported_in_words(images):
    model = make(rate=1e-12)
    for network in (model.head, model.key_head.network):
        network.set_weights([np.zeros_like(w) for w in network.get_weights()[:3]] + [np.ones(8)])
    with pytest.warns(UserWarning, match=r"stayed at log\(K \+ 1\) = 3.89"):
        model.fit(images, batch_size=32, epochs=6, verbose=0)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_clusters": 1}, "`num_clusters` should be in"),
        ({"num_clusters": 49}, "`num_clusters` should be in"),
        ({"queue_size": 1}, "`queue_size`"),
        ({"temperature": 0}, "`temperature` should be positive"),
        ({"key_momentum": (0.9, 1.1)}, "`key_momentum`"),
        ({"loss_weights": (0, 0, 0)}, "`loss_weights`"),
        ({"loss_weights": (1, -1, 0)}, "`loss_weights`"),
        ({"assign_by": "both"}, "`assign_by`"),
        ({"projection_dim": 0}, "`projection_dim`"),
        ({"centroid_momentum": 1.5}, "`centroid_momentum`"),
        ({"num_classes": 1}, "`num_classes`"),
        ({"warmup_steps": -1}, "`warmup_steps`"),
    ],
)
def test_wrong_values_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_public_names_are_there():
    for name in cueco_tf.__all__:
        assert getattr(cueco_tf, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        cueco_tf.nonsense  # noqa: B018


def test_uneven_clusters_are_warned_of_when_they_become_so():
    monitor, warned = UsageMonitor(), []
    for epoch, entropy in enumerate((0.0, 0.9, 0.6, 0.5, 0.8, 0.6)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            monitor.on_epoch_end(epoch, {"usage_entropy": entropy})
        warned += [str(each.message)[:28] for each in caught]
    assert warned == ["Usage entropy fell to 0.60 ("] * 2
