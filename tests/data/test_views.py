import warnings

import numpy as np
import pytest
import tensorflow as tf

from cueco_tf.data import order, views
from cueco_tf.data.augment import TwoViews

SHAPE = (32, 32, 3)


@pytest.mark.parametrize("count, batch_size", [(10, 3), (1437, 128), (1000, 1000), (7, 20), (1, 4)])
def test_an_epoch_holds_every_image_once_in_an_order_of_its_own(count, batch_size):
    per_epoch = -(-count // batch_size)

    def epoch(number, seed=0):
        steps = range(number * per_epoch, (number + 1) * per_epoch)
        parts = [
            order.shuffled_indices(tf.constant(s, tf.int64), count, batch_size, seed) for s in steps
        ]
        assert [len(part) for part in parts[:-1]] == [batch_size] * (per_epoch - 1)
        return np.concatenate(parts)

    orders = [epoch(0), epoch(1), epoch(0, seed=1)]
    for each in orders:
        np.testing.assert_array_equal(np.sort(each), np.arange(count))
    np.testing.assert_array_equal(epoch(0), orders[0])
    if count > 7:
        assert not np.array_equal(orders[0], orders[1])
        assert not np.array_equal(orders[0], orders[2])


def test_the_order_is_well_mixed():
    images = np.concatenate(
        [order.shuffled_indices(tf.constant(s, tf.int64), 50_000, 500, 3) for s in range(100)]
    )
    assert abs(np.corrcoef(images, np.arange(50_000))[0, 1]) < 0.02
    assert abs(np.corrcoef(images[:-1], images[1:])[0, 1]) < 0.02


def test_batches_can_start_at_any_step(cifar):
    images, labels = cifar.train.images[:50], cifar.train.labels[:50]
    augment = TwoViews.for_image_size(32)
    whole, per_epoch = views.from_arrays(images, labels, 16, augment, 0, 0)
    assert per_epoch == 4
    whole = list(whole.take(9))
    late, _ = views.from_arrays(images, labels, 16, augment, 0, 6)
    for expected, got in zip(whole[6:], late.take(3), strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, expected, got)
    assert [len(labels) for _, labels in whole] == [16, 16, 16, 2] * 2 + [16]


def dataset_of(*arrays, batch=4):
    data = arrays[0] if len(arrays) == 1 else arrays
    return tf.data.Dataset.from_tensor_slices(data).batch(batch)


def test_a_dataset_may_hold_images_labels_or_views(cifar):
    x, y = cifar.train.images[:10], cifar.train.labels[:10]

    def augment(images, seed):
        return tf.cast(images, tf.float32), tf.cast(images, tf.float32) + 1

    for data, labels in ((dataset_of(x), [-1] * 4), (dataset_of(x, y), y[:4])):
        batches, per_epoch = views.from_dataset(data, augment, SHAPE, 0, 0, num_classes=100)
        assert per_epoch == 3
        (first, second), got = next(iter(batches))
        np.testing.assert_array_equal(first, x[:4])
        np.testing.assert_array_equal(second, x[:4] + 1.0)
        np.testing.assert_array_equal(got, labels)

    def untouchable(images, seed):
        raise AssertionError("ready-made views must not be augmented")

    batches, _ = views.from_dataset(dataset_of(x, x[::-1]), untouchable, SHAPE, 0, 0)
    (first, second), got = next(iter(batches))
    np.testing.assert_array_equal(first, x[:4])
    np.testing.assert_array_equal(second, x[::-1][:4])
    data = dataset_of((x, x), y)
    batches, _ = views.from_dataset(data, untouchable, SHAPE, 0, 0, num_classes=100)
    np.testing.assert_array_equal(next(iter(batches))[1], y[:4])


@pytest.mark.parametrize("known", [True, False])
def test_every_epoch_of_a_dataset_is_augmented_anew_and_reproducibly(cifar, known):
    data = dataset_of(cifar.train.images[:10])
    if not known:
        data = data.filter(lambda images: True)
    augment = TwoViews.for_image_size(32)

    def epochs(seed):
        done = iter((0, 3))  # asked for anew each epoch where its length is unknown
        batches, per_epoch = views.from_dataset(data, augment, SHAPE, seed, lambda: next(done))
        assert per_epoch == (3 if known else None)
        if known:
            first = [views[0].numpy() for views, _ in batches.take(6)]
            return first[:3], first[3:]
        return [[views[0].numpy() for views, _ in batches] for _ in range(2)]

    (first, second), (again, _), (other, _) = epochs(0), epochs(0), epochs(1)
    for a, b, c, d in zip(first, again, second, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.abs(a - c).mean() > 1 and np.abs(a - d).mean() > 1


@pytest.mark.parametrize(
    "data",
    [
        tf.data.Dataset.from_tensors(np.zeros((32, 32, 3))),  # not batched
        tf.data.Dataset.from_tensors(np.zeros((2, 28, 28, 3))),
        tf.data.Dataset.from_tensors({"image": np.zeros((2, 32, 32, 3))}),
        tf.data.Dataset.from_tensors((np.zeros((2, 32, 32, 3)), 0)),
    ],
)
def test_other_elements_are_refused(data):
    with pytest.raises(ValueError, match="should yield batches of 32x32x3 images"):
        views.from_dataset(data, None, SHAPE, 0, 0)


def test_endless_and_empty_datasets_are_refused():
    data = dataset_of(np.zeros((4, *SHAPE), "uint8"))
    with pytest.raises(ValueError, match="steps_per_epoch"):
        views.from_dataset(data.repeat(), None, SHAPE, 0, 0)
    with pytest.raises(ValueError, match="empty"):
        views.from_dataset(data.take(0), None, SHAPE, 0, 0)


def test_scaled_pixels_get_a_warning():
    scaled = np.full((4, *SHAPE), 0.5, "float32")
    with pytest.warns(UserWarning, match="multiply them by 255"):
        views.check_images(scaled, SHAPE)
    with pytest.warns(UserWarning, match="multiply them by 255"):
        views.from_dataset(dataset_of(scaled), TwoViews(), SHAPE, 0, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = np.linspace(0, 1, scaled.size, dtype="float32").reshape(scaled.shape)
        views.check_images(whole * 255, SHAPE)
        views.check_images((whole * 255).astype("uint8"), SHAPE)
    for low, high in ((-1, 1), (0, 4095), (-2.5, 3)):
        with pytest.warns(UserWarning, match=f"use {low} to {high}: map them to that range"):
            views.check_images(low + (high - low) * whole, SHAPE)
    few = np.tile(np.arange(17, dtype="uint8")[:, None, None, None], (1, *SHAPE))
    with pytest.warns(UserWarning, match=r"use 0 to 16: multiply them by 255 / 16"):
        views.check_images(few, SHAPE)
    with pytest.warns(UserWarning, match=r"use 0 to 16: multiply them by 255 / 16"):
        views.from_dataset(dataset_of(few, batch=17), TwoViews(), SHAPE, 0, 0)


@pytest.mark.parametrize(
    "images, message",
    [
        (np.zeros((4, 28, 28, 3), "uint8"), r"shape \(n, 32, 32, 3\)"),
        (np.zeros((4, 32, 32, 1), "uint8"), r"shape \(n, 32, 32, 3\)"),
        (np.zeros((0, 32, 32, 3), "uint8"), r"n >= 1"),
        (np.zeros((4, 32, 32, 3), "int64"), "uint8 or float"),
        (np.full((4, 32, 32, 3), np.nan), "finite"),
    ],
)
def test_wrong_images_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        views.check_images(images, SHAPE)
