"""Clusters are those of the encoder that is kept."""

import warnings

import h5py
import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from sklearn.cluster import KMeans
from sklearn.datasets import load_sample_images
from small_methods import SMALL, make

from cueco_tf import CueCo, build_encoder
from cueco_tf.parts.settled import nearest, settle
from cueco_tf.parts.uniform import uniform

CLUSTERING = ("cueco", "swav")


def draw(shape):
    return uniform(shape, (0, 0))


@pytest.fixture(scope="module")
def images(digits):
    return digits.train.images[:300]


@pytest.fixture(scope="module")
def crops():
    """Parts of two photographs, 32 x 32."""
    pictures = [tf.image.resize(each, (128, 192)).numpy() for each in load_sample_images().images]
    rng = np.random.default_rng(0)
    places = [(pictures[rng.integers(2)], rng.integers(96), rng.integers(160)) for _ in range(512)]
    return np.array([each[y : y + 32, x : x + 32] for each, y, x in places], np.uint8)


def test_from_good_centroids_it_is_k_means():
    """Against scikit-learn's, on directions around nine centres."""
    rng = np.random.default_rng(0)
    centres = np.eye(9, 16, dtype=np.float32)
    z = reference.unit(centres[np.arange(450) % 9] + 0.08 * rng.normal(size=(450, 16)))
    begun = reference.unit(centres + 0.2 * rng.normal(size=centres.shape)).astype(np.float32)
    found = settle(z.astype(np.float32), begun, draw)
    expected = KMeans(9, init=begun, n_init=1).fit(z).cluster_centers_
    np.testing.assert_allclose(found, reference.unit(expected), atol=1e-5)


def test_no_cluster_stays_empty_and_all_keep_their_numbers():
    rng = np.random.default_rng(1)
    z = reference.unit(np.eye(8, 16)[np.arange(400) % 8] + 0.02 * rng.normal(size=(400, 16)))
    z = z.astype(np.float32)
    begun = np.zeros((8, 16), np.float32)
    begun[0, 0] = begun[1, 1:8] = begun[2:, 8] = 1  # of the first group, of all others, of none
    begun = reference.unit(begun).astype(np.float32)
    assert len(np.unique(nearest(z, begun))) == 2
    found = settle(z, begun, draw)
    own = nearest(z, found)
    assert len(np.unique(own)) == 8
    assert (own[0::8] == 0).all()  # keeps the images that were its own
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    inertia = np.mean(2 - 2 * np.sum(z * found[own], axis=1))
    assert inertia < 0.05


@pytest.mark.parametrize("count", [1, 5])
def test_fewer_images_than_clusters_and_images_all_alike_end(count):
    z = np.tile(reference.unit(np.ones((1, 8))), (count, 1)).astype(np.float32)
    begun = reference.random_units(np.random.default_rng(0), 6, 8).astype(np.float32)
    found = settle(z, begun, draw)
    assert found.shape == (6, 8) and np.isfinite(found).all()
    np.testing.assert_allclose(found[nearest(z, found)], z, atol=1e-6)


def test_few_steps_on_few_photographs_use_all_clusters(crops):
    keras.utils.set_random_seed(0)
    model = CueCo(build_encoder("resnet10", width=8), 20, queue_size=128, hidden_dim=256)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9))
    model.fit(crops, epochs=8, batch_size=256, verbose=0)
    z = model.predict(crops, verbose=0)
    as_trained = len(np.unique(nearest(z, model.directions().numpy())))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        used = len(np.unique(model.assign(crops)))
    assert used == 20 > as_trained


@pytest.mark.parametrize("method", CLUSTERING)
def test_settling_changes_nothing_that_training_goes_on_from(method, images):
    once, twice = make(method, total_steps=12), make(method, total_steps=12)
    once.fit(images, batch_size=100, epochs=4, verbose=0)
    for epochs in (1, 3):
        twice.fit(images, batch_size=100, epochs=epochs, verbose=0)
        twice.settle(twice.predict(images, verbose=0))
    for own, expected in zip(twice.weights, once.weights, strict=True):
        np.testing.assert_array_equal(own.numpy(), expected.numpy(), err_msg=own.path)
    assert int(once.settled.settled_at) == 12


@pytest.mark.parametrize("method", CLUSTERING)
def test_clusters_are_settled_once_training_is_over(method, images, tmp_path):
    model = make(method, total_steps=12)
    model.fit(images, batch_size=100, epochs=2, verbose=0)
    with pytest.warns(UserWarning, match=r"as it is may leave some empty.*model.settle\("):
        model.assign(images)
    model.fit(tf.data.Dataset.from_tensor_slices(images).batch(100), epochs=2, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assigned = model.assign(images)
    assert len(np.unique(assigned)) == 6
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.assign(images), assigned)
    model.step.assign_add(1)  # another encoder
    with pytest.warns(UserWarning, match="may leave some empty"):
        model.assign(images)


def test_an_early_stop_settles_for_the_weights_that_are_put_back(images):
    """`restore_best_weights` acts when training ends; without a given length that is the end."""
    model = make("cueco")
    stop = keras.callbacks.EarlyStopping(
        "loss", min_delta=100, patience=2, restore_best_weights=True, start_from_epoch=3
    )
    model.fit(images, batch_size=100, epochs=20, verbose=0, callbacks=[stop])
    assert int(model.step) < 60 and int(model.settled.settled_at) == int(model.step)
    z = model.predict(images, verbose=0)
    settled = model.settled.settled.numpy()
    np.testing.assert_array_equal(model.assign(images), (z @ settled.T).argmax(axis=1))


@pytest.mark.parametrize("method", CLUSTERING)
def test_two_replicas_settle_as_one(method, images, mirrored):
    with mirrored.scope():
        model = make(method, warmup_steps=9) if method == "cueco" else make(method)
    with pytest.raises(ValueError, match="has no clusters yet"):
        model.assign(images)
    model.fit(images, batch_size=100, epochs=4, verbose=0)
    z = model.predict(images, verbose=0)
    assigned = model.assign(images)
    np.testing.assert_array_equal(assigned, (z @ model.settled.settled.numpy().T).argmax(axis=1))
    assert len(np.unique(assigned)) == 6


def test_fit_can_leave_it(images):
    model = make("cueco")
    model.fit(images, batch_size=100, epochs=2, verbose=0, settle=False)
    assert int(model.settled.settled_at) == -1


def test_before_clusters_exist_the_missing_keys_are_counted(images):
    model = make("cueco")
    with pytest.raises(
        ValueError, match=r"CueCo has no clusters yet: 40 of the 40 keys .* missing"
    ):
        model.assign(images)
    model.fit(images[:30], batch_size=30, verbose=0)
    for ask in (
        lambda: model.assign(images),
        lambda: model.nearest(np.eye(8, dtype=np.float32)),
        lambda: model.settle(np.eye(8, dtype=np.float32)),
    ):
        with pytest.raises(ValueError, match="10 of the 40 keys that its queue waits for"):
            ask()
    late = make("cueco", warmup_steps=50)
    late.fit(images[:60], batch_size=30, verbose=0)
    with pytest.raises(ValueError, match="its warm-up of 50 steps is not over at step 2"):
        late.assign(images)


def test_frozen_prototypes_are_no_clusters_yet(images):
    model = make("swav", freeze_steps=4)
    model.fit(images, batch_size=100, verbose=0)
    with pytest.raises(
        ValueError, match="SwAV has no clusters yet: its prototypes learn from step"
    ):
        model.assign(images)


@pytest.mark.parametrize("method", sorted(SMALL.keys() - set(CLUSTERING)))
def test_methods_without_clusters_say_so_at_each_door(method, images):
    model = make(method)
    model.fit(images, batch_size=100, verbose=0)
    for ask in (model.assign, lambda images: model.settle(model.predict(images, verbose=0))):
        with pytest.raises(ValueError, match="has no clusters of its own: use k-means on z"):
            ask(images)


def test_a_file_of_a_model_without_settled_clusters_is_loaded(images, tmp_path):
    model = make("cueco")
    model.fit(images, batch_size=100, epochs=2, verbose=0)
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    with h5py.File(path, "r+") as file:
        names = []
        file.visit(names.append)
        del file[next(name for name in names if name.endswith("settled_clusters"))]
    fresh = make("cueco")
    fresh.load_weights(path)
    np.testing.assert_array_equal(fresh.clusters.centroids, model.clusters.centroids)
    with pytest.warns(UserWarning, match="may leave some empty"):
        fresh.assign(images)
