"""One replica and two follow the same trajectory on the same global batches."""

import keras
import numpy as np
import pytest
import small_methods
import tensorflow as tf

from cueco_tf import CueCo
from cueco_tf.data import resident
from cueco_tf.running import checkpoints
from cueco_tf.settings.methods import METHODS


def encoder():
    """No BatchNormalization, whose batch statistics are a replica's own."""
    x = inputs = keras.Input((32, 32, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(x)
    for filters in (8, 16):
        x = keras.layers.Conv2D(filters, 3, 4, padding="same", activation="relu")(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))


def train(strategy, images, labels, on_device=False, **options):
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
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9))
    # 75 = 2 x 30 + 15: the last batch is smaller and does not divide by two.
    fitting = dict(batch_size=30, verbose=0, on_device=on_device)
    history = model.fit(images, labels, epochs=2, **fitting).history
    usage = model.clusters.usage
    usage.assign(usage.numpy() * np.array([1, 1, 1e-4, 1, 1, 1]))  # a cluster dies
    later = model.fit(images, labels, epochs=3, **fitting).history
    return model, {name: history[name] + later[name] for name in history}


@pytest.mark.parametrize(
    "options, on_device, largest",
    [
        ({}, False, None),
        ({}, True, resident.LARGEST),
        ({}, True, 0),
        ({"symmetric": True, "assign_by": "query"}, False, None),
    ],
)
def test_two_replicas_follow_one(cifar, mirrored, options, on_device, largest, monkeypatch):
    """With images made into views on the host, where each replica holds all of them, and where
    they are sent to it."""
    monkeypatch.setattr(resident, "LARGEST", largest)
    images, labels = cifar.train.images[:75], cifar.train.labels[:75]
    one, history = train(tf.distribute.get_strategy(), images, labels, **options)
    two, same = train(mirrored, images, labels, on_device, **options)

    assert sum(history["reseeded_clusters"]) >= 1  # the path was taken
    assert history["usage_entropy"][0] > 0
    for name, values in history.items():
        np.testing.assert_allclose(same[name], values, rtol=2e-3, atol=1e-5, err_msg=name)
    for own, other in zip(one.weights, two.weights, strict=True):
        np.testing.assert_allclose(other.numpy(), own.numpy(), atol=2e-4, err_msg=own.path)

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


@pytest.mark.parametrize("jit", [True, "update"])
def test_xla_is_refused_to_several_replicas_in_words(mirrored, jit):
    with mirrored.scope():
        model = CueCo(encoder(), 6, queue_size=40, hidden_dim=16, projection_dim=8)
        with pytest.raises(ValueError, match="XLA compiles the step of a single device"):
            model.compile("sgd", jit_compile=jit)


def test_a_run_begun_on_one_gpu_goes_on_on_several_without_xla(mirrored):
    from cueco_tf.methods.building import build_model
    from cueco_tf.settings.run import RunConfig

    options = dict(encoder="resnet10", width=4, image_size=8, epochs=1)
    config = RunConfig.for_dataset("digits", **options).resolve(100, 8, 10).on_devices(1)
    assert config.jit and config.precision == "mixed_bfloat16"
    assert not config.replace(jit=None).on_devices(2).jit
    with mirrored.scope():
        model = build_model(config)
    assert not model.jit_compile
    assert build_model(config).jit_compile


def test_a_loss_over_the_gathered_batch_has_the_gradient_of_one_replica(mirrored):
    """Two and three examples, each of whose losses has all five in it."""
    from cueco_tf.distributed.replicas import ReplicatedModel

    vectors = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    shares = (vectors[:2], vectors[2:])

    def gradients(strategy, of_replica, gradient):
        with strategy.scope():
            model = ReplicatedModel()
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
