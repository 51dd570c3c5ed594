"""Views that are not drawn alike are, each for itself, those that would be drawn alike."""

import keras
import numpy as np
import pytest

from cueco_tf.data.augment import TwoViews
from cueco_tf.methods.building import build_views
from cueco_tf.settings.run import RunConfig

SEED = (3, 4)


@pytest.fixture(scope="module")
def images(cifar):
    return cifar.train.images[:64]


def test_the_first_view_has_its_own_blur_and_the_second_what_it_had(images):
    own = TwoViews(blur=0.1, solarise=0.2, first_blur=1.0)(images, SEED)
    blurred, _ = TwoViews(blur=1.0)(images, SEED)
    _, second = TwoViews(blur=0.1, solarise=0.2)(images, SEED)
    np.testing.assert_array_equal(own[0], blurred)
    np.testing.assert_array_equal(own[1], second)


def test_the_first_view_is_solarised_as_a_second_one_would_be(images):
    own, _ = TwoViews(first_solarise=0.4)(images, SEED)
    plain, _ = TwoViews()(images, SEED)
    changed = np.abs(own - plain).max(axis=(1, 2, 3)) > 0
    assert 10 < changed.sum() < 45  # of 64, at a probability of 0.4
    inverted = np.where(plain >= 128, 255 - plain, plain)
    np.testing.assert_allclose(own[changed], inverted[changed], atol=1e-3)


def test_it_is_saved_and_holds_its_numbers_against_the_rules():
    views = TwoViews(crop_scale=(0.3, 1), first_blur=0.2, first_solarise=0.1)
    saved = keras.saving.serialize_keras_object(views)
    assert keras.saving.deserialize_keras_object(saved) == views
    with pytest.raises(ValueError, match=r"should lie in \[0, 1\]. Received: first_solarise=1.5"):
        TwoViews(first_solarise=1.5)


def test_a_run_has_them():
    config = RunConfig("cifar100").resolve(100, 32, 10)
    assert build_views(config) == TwoViews()
    views = build_views(config.replace(blur=0.1, first_blur=0.2, first_solarise=0.3))
    assert views == TwoViews(blur=0.1, first_blur=0.2, first_solarise=0.3)
