"""Workers make parts of the batches that one process would make whole."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cueco_tf import data
from cueco_tf.data import views
from cueco_tf.data.augment import TwoViews

AUGMENT = TwoViews(blur=0.5)


def parts(make, workers, replicas, steps):
    """Each worker's first batches: own labels, their views, and the others' views."""
    for index in range(workers):
        batches = make((index, workers, replicas))
        yield [(np.stack(pair, 1), labels.numpy()) for pair, labels in batches.take(steps)]


def assert_parts_make_up_the_whole(make, workers, replicas, steps, atol):
    whole = [(np.stack(pair, 1), labels.numpy()) for pair, labels in make(views.WHOLE).take(steps)]
    made = list(parts(make, workers, replicas, steps))
    for step, (pairs, labels) in enumerate(whole):
        own = np.concatenate([part[step][1] for part in made])
        np.testing.assert_array_equal(own, labels)
        shown = np.concatenate([part[step][0][: len(part[step][1])] for part in made])
        np.testing.assert_allclose(shown, pairs, atol=atol)
        for others, theirs in (part[step] for part in made):
            if len(labels) < replicas:  # the whole batch, in another order
                assert len(others) == len(labels)
                np.testing.assert_allclose(others.sum(), pairs.sum(), rtol=1e-4)
            else:
                assert len(others) == len(theirs)


@pytest.mark.parametrize("workers, replicas", [(2, 2), (3, 6), (5, 5)])
def test_images_in_memory(digits, workers, replicas):
    images, labels = digits.train.images[:17], np.arange(17)

    def make(part):
        return views.from_arrays(images, labels, 7, AUGMENT, 3, 1, part)[0]

    assert_parts_make_up_the_whole(make, workers, replicas, 6, 1e-2)  # batches of 7, 3, 7, 7, 3, 7


def test_a_dataset_and_an_augmentation_of_the_users_own(digits):
    batches = tf.data.Dataset.from_tensor_slices((digits.train.images[:17], np.arange(17)))

    def flip(images, seed):
        return images, tf.reverse(images, (2,))

    def make(part):
        given = batches.batch(7), flip, (16, 16, 3), 0, 0
        return views.from_dataset(*given, part=part, num_classes=17)[0]

    assert_parts_make_up_the_whole(make, 4, 4, 6, 0)


def test_files_and_one_that_breaks_later(cifar, tmp_path):
    for i in range(11):
        Image.fromarray(cifar.train.images[i]).save(tmp_path / f"{i}.png")
    split = data.load(f"folder:{tmp_path}").train
    split = data.FileSplit(split.paths, split.aspects, np.arange(11, dtype=np.int32), 32, 32)

    def make(part):
        return split.training_batches(8, AUGMENT, 0, 0, part)

    assert_parts_make_up_the_whole(make, 2, 4, 4, 1e-2)  # batches of 8, 3, 8, 3
    Path(split.paths[3]).write_bytes(b"broken")
    with pytest.warns(UserWarning, match="Skipped"):
        labels = [
            labels.numpy() for worker in range(2) for _, labels in make((worker, 2, 2)).take(2)
        ]
    assert sorted(np.concatenate(labels)) == [0, 1, 2, *range(4, 11)]
