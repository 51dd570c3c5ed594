"""One replica and two follow the same trajectory on the same global batches."""

import keras
import numpy as np
import pytest
import small_methods
import tensorflow as tf

from cueco_tf import CueCo
from cueco_tf.data import resident
from cueco_tf.distributed import replicas
from cueco_tf.parts.batch_norm import FusedBatchNormalization
from cueco_tf.parts.optimizers import LARS, SGD
from cueco_tf.running import checkpoints
from cueco_tf.settings.methods import METHODS


def encoder():
    """No BatchNormalization, whose batch statistics are a replica's own."""
    x = inputs = keras.Input((32, 32, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(x)
    for filters in (8, 16):
        x = keras.layers.Conv2D(filters, 3, 4, padding="same", activation="relu")(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))


def train(
    strategy, images, labels, on_device=False, optimizer=keras.optimizers.SGD, jit=None, **options
):
    with strategy.scope():
        keras.utils.set_random_seed(0)
        model = CueCo(
            encoder(),
            6,
            queue_size=40,
            hidden_dim=16,
            projection_dim=8,
            warmup_steps=2,
            num_classes=100,
            **options,
        )
        model.compile(optimizer(0.05, momentum=0.9, weight_decay=1e-3), jit_compile=jit)
    # 75 = 2 x 30 + 15: the last batch is smaller and does not divide by two.
    fitting = dict(batch_size=30, verbose=0, on_device=on_device)
    history = model.fit(images, labels, epochs=2, **fitting).history
    usage = model.clusters.usage
    usage.assign(usage.numpy() * np.array([1, 1, 1e-4, 1, 1, 1]))  # a cluster dies
    later = model.fit(images, labels, epochs=3, **fitting).history
    return model, {name: history[name] + later[name] for name in history}


@pytest.mark.parametrize(
    "options, on_device, largest, jit",
    [
        ({}, False, None, False),
        ({}, True, resident.LARGEST, False),
        ({}, True, 0, False),
        ({"symmetric": True, "assign_by": "query"}, False, None, False),
        ({"optimizer": SGD}, False, None, False),
        ({"optimizer": LARS}, False, None, False),
        ({"optimizer": SGD}, True, 0, True),
    ],
)
def test_two_replicas_follow_one(cifar, mirrored, options, on_device, largest, jit, monkeypatch):
    """With images made into views on the host, where each replica holds all of them, and where
    they are sent to it; updated by Keras and by ourselves, by XLA and without."""
    monkeypatch.setattr(resident, "LARGEST", largest)
    images, labels = cifar.train.images[:75], cifar.train.labels[:75]
    one, history = train(tf.distribute.get_strategy(), images, labels, jit=False, **options)
    two, same = train(mirrored, images, labels, on_device, jit=jit, **options)

    assert sum(history["reseeded_clusters"]) >= 1  # the path was taken
    assert history["usage_entropy"][0] > 0
    for name, values in history.items():
        np.testing.assert_allclose(same[name], values, rtol=2e-3, atol=1e-5, err_msg=name)
    for own, other in zip(one.weights, two.weights, strict=True):
        atol = 2e-4 if jit else 2e-5  # of which decay takes from weights some 2e-4 in all
        np.testing.assert_allclose(other.numpy(), own.numpy(), atol=atol, err_msg=own.path)

    # Every replica holds the same state: nothing drifts apart.
    for weight in two.weights:
        for copy in mirrored.experimental_local_results(weight.value)[1:]:
            np.testing.assert_array_equal(copy.numpy(), weight.numpy(), err_msg=weight.path)


@pytest.mark.parametrize("method", [name for name in METHODS if name != "cueco"])
def test_two_replicas_of_every_method_follow_one(digits, mirrored, method):
    """The last batches are of 11 images, of which a replica has 5 and the other 6, and of one."""
    ends = []
    for strategy in (tf.distribute.get_strategy(), mirrored):
        with strategy.scope():
            model = small_methods.make(method, total_steps=12)
        small_methods.fit(model, digits, epochs=3, images=91)
        ends.append((model, small_methods.fit(model, digits, epochs=1, images=81)))
    (one, history), (two, same) = ends
    for name, values in history.items():
        np.testing.assert_allclose(same[name], values, rtol=2e-3, atol=1e-5, err_msg=name)
    for own, other in zip(one.weights, two.weights, strict=True):
        close = dict(rtol=1e-4, atol=2e-4, err_msg=own.path)
        np.testing.assert_allclose(other.numpy(), own.numpy(), **close)
    for weight in two.weights:
        for copy in mirrored.experimental_local_results(weight.value)[1:]:
            np.testing.assert_array_equal(copy.numpy(), weight.numpy(), err_msg=weight.path)


def test_a_checkpoint_of_two_replicas_goes_on_with_one(cifar, mirrored, tmp_path):
    images, labels = cifar.train.images[:75], cifar.train.labels[:75]
    two, _ = train(mirrored, images, labels)
    checkpoints.save(tmp_path, two)
    one, _ = train(tf.distribute.get_strategy(), images[:40], labels[:40])
    assert checkpoints.restore(tmp_path, one) is not None
    for own, other in zip(one.weights, two.weights, strict=True):
        np.testing.assert_array_equal(own.numpy(), other.numpy(), err_msg=own.path)
    later = [model.fit(images, labels, batch_size=30, verbose=0).history for model in (one, two)]
    for name, values in later[0].items():
        np.testing.assert_allclose(later[1][name], values, rtol=2e-3, atol=1e-5, err_msg=name)


def test_a_run_begun_on_one_gpu_goes_on_on_several(mirrored):
    from cueco_tf.methods.building import build_model
    from cueco_tf.settings.run import RunConfig

    options = dict(encoder="resnet10", width=4, image_size=8, epochs=1)
    config = RunConfig.for_dataset("digits", **options).resolve(100, 8, 10).on_devices(1)
    assert config.jit and config.precision == "mixed_bfloat16"
    assert not config.replace(jit=None).on_devices(2).jit
    with mirrored.scope():
        model = build_model(config)
    assert not model.jit_compile  # not the whole step, in which replicas wait for each other
    assert model._compiled_parts
    alone = build_model(config)
    assert alone.jit_compile and not alone._compiled_parts


@pytest.fixture(scope="module")
def normalised(cifar, mirrored):
    """Models with BatchNormalization after two steps of two replicas, not compiled and compiled,
    whose images lie on the devices."""
    models = []
    for jit in (False, True):
        with mirrored.scope():
            keras.utils.set_random_seed(0)
            inputs = keras.Input((32, 32, 3))
            x = keras.layers.Rescaling(1 / 127.5, -1)(inputs)
            for filters in (4, 8):
                x = keras.layers.Conv2D(filters, 3, 4, use_bias=False)(x)
                x = keras.layers.ReLU()(FusedBatchNormalization(momentum=0.9)(x))
            encoder = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
            model = CueCo(encoder, 6, queue_size=40, hidden_dim=16, projection_dim=8)
            model.compile(SGD(0.05, momentum=0.9), jit_compile=jit)
        model.fit(cifar.train.images[:32], batch_size=16, verbose=0, on_device=True)
        models.append(model)
    return models


def test_compiled_replicas_train_as_those_that_are_not(normalised):
    plain, compiled = normalised
    for own, other in zip(plain.weights, compiled.weights, strict=True):
        np.testing.assert_allclose(other.numpy(), own.numpy(), atol=1e-4, err_msg=own.path)
    moving = [weight for weight in compiled.encoder.weights if "moving_" in weight.path]
    assert len(moving) == 2 * 2 and all(np.abs(m.numpy() - 1).max() > 1e-3 for m in moving)


def test_replicas_hold_the_same_moving_statistics(normalised, mirrored):
    for model in normalised:
        for weight in model.weights:
            for copy in mirrored.experimental_local_results(weight.value)[1:]:
                np.testing.assert_array_equal(copy.numpy(), weight.numpy(), err_msg=weight.path)


@pytest.mark.parametrize(
    "layer", [keras.layers.BatchNormalization, lambda: keras.layers.Dropout(0.1)]
)
def test_layers_with_other_state_are_trained_uncompiled(cifar, mirrored, layer):
    """Moving statistics of Keras's own BatchNormalization are a replica's, as ever."""
    with mirrored.scope():
        x = inputs = keras.Input((32, 32, 3))
        x = layer()(keras.layers.Conv2D(4, 3, 4)(keras.layers.Rescaling(1 / 255)(x)))
        encoder = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
        model = CueCo(encoder, 6, queue_size=40, hidden_dim=16, projection_dim=8)
        model.compile(SGD(0.05), jit_compile=True)
    assert not replicas._is_apart(encoder) and replicas._is_apart(model.head)
    before = [weight.numpy() for weight in encoder.weights]
    model.fit(cifar.train.images[:32], batch_size=16, verbose=0)
    for weight, old in zip(encoder.weights, before, strict=True):
        assert np.abs(weight.numpy().astype(float) - old).max() > 0, weight.path
    for weight in encoder.trainable_weights:
        for copy in mirrored.experimental_local_results(weight.value)[1:]:
            np.testing.assert_array_equal(copy.numpy(), weight.numpy(), err_msg=weight.path)


@pytest.mark.parametrize("jit", [False, True])
def test_a_block_that_is_called_twice_moves_its_statistics_twice(cifar, mirrored, jit):
    """As on one device, here by two replicas that are given the same images."""
    images = cifar.train.images[:8].astype("float32")

    def moved(strategy):
        with strategy.scope():
            keras.utils.set_random_seed(0)
            x = inputs = keras.Input((32, 32, 3))
            norm, conv = FusedBatchNormalization(momentum=0.5), keras.layers.Conv2D(3, 1)
            for _ in range(2):
                x = norm(conv(x))
            model = replicas.ReplicatedModel()
            network = keras.Model(inputs, x)
            model.compile(SGD(0.1), jit_compile=jit and strategy is mirrored)
            model.optimizer.build(network.trainable_variables)
        strategy.run(tf.function(lambda: model.run(network, tf.constant(images)) is None))
        return [weight.numpy() for weight in norm.non_trainable_weights]

    alone = moved(tf.distribute.get_strategy())
    for own, expected in zip(moved(mirrored), alone, strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-4)


def test_an_overflow_on_one_replica_is_one_of_all(mirrored):
    """Else the weights of all become NaN."""
    with mirrored.scope():
        model = replicas.ReplicatedModel()
        model.kernel = model.add_weight(shape=(2,), initializer="ones")
        model.compile(keras.optimizers.LossScaleOptimizer(SGD(0.5), initial_scale=4.0))
        model.optimizer.build([model.kernel])

    def step(factor):
        with tf.GradientTape() as tape:
            loss = model.optimizer.scale_loss(keras.ops.sum(factor * model.kernel))
        model.minimise(loss, tape)

    def take(factors):
        values = mirrored.experimental_distribute_values_from_function(
            lambda context: tf.constant(factors[context.replica_id_in_sync_group])
        )
        mirrored.run(tf.function(step), (values,))
        return model.kernel.numpy().tolist()

    assert take([1.0, np.inf]) == [1.0, 1.0] == take([np.nan, 1.0])
    assert take([0.25, 0.5]) == [0.625, 0.625]


def test_a_loss_over_the_gathered_batch_has_the_gradient_of_one_replica(mirrored):
    """Two and three examples, each of whose losses has all five in it."""
    vectors = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    shares = (vectors[:2], vectors[2:])

    def gradients(strategy, of_replica, gradient):
        with strategy.scope():
            model = replicas.ReplicatedModel()
            kernel = tf.Variable(tf.eye(4)[:, :3] + 0.1)

        def step(own):
            with tf.GradientTape() as tape:
                z = tf.tanh(own @ kernel)
                everyone = model.gather(z, gradient=gradient)
                places = model.own_places(tf.shape(own)[0])
                logits = z @ tf.transpose(everyone)
                loss = -tf.reduce_sum(tf.gather(tf.nn.log_softmax(logits), places, batch_dims=1))
            return model.replica_sum(tape.gradient(loss, kernel)), places

        values = strategy.experimental_distribute_values_from_function(of_replica)
        found = strategy.run(tf.function(step), (values,))
        return tf.nest.map_structure(lambda v: strategy.experimental_local_results(v), found)

    (one, *_), _ = gradients(tf.distribute.get_strategy(), lambda _: tf.constant(vectors), True)
    two, places = gradients(
        mirrored, lambda context: tf.constant(shares[context.replica_id_in_sync_group]), True
    )
    for copy in two:
        np.testing.assert_allclose(copy, one, rtol=1e-5)
    np.testing.assert_array_equal(np.concatenate([p.numpy() for p in places]), range(5))
    # Without the gradient of the gathering, replicas learn something else in silence.
    alone, _ = gradients(
        mirrored, lambda context: tf.constant(shares[context.replica_id_in_sync_group]), False
    )
    assert np.abs(alone[0] - one).max() > 1e-2
