import keras
import numpy as np
import pytest

import cueco_tf
from cueco_tf import evaluation
from cueco_tf.evaluation import networks as scoring


@pytest.mark.parametrize("size, side", [(16, 16), (32, 32), (224, 32), (100, 33)])
def test_raw_pixels_are_the_image_or_its_average(size, side):
    images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    block = size // side
    cut = images[:, : side * block, : side * block].reshape(2, side, block, side, block, 3)
    expected = cut.mean(axis=(2, 4)).reshape(2, -1) / 255
    found = scoring.pixel_network(size).predict(images, verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_network_is_scored_by_its_features(digits):
    network = scoring.pixel_network(16)
    train, test = digits.train.sample(300), digits.test.sample(200)
    scores = scoring.score_network(network, train, test, seed=3)
    pixels = [split.images.reshape(len(split), -1) / 255 for split in (train, test)]
    expected = evaluation.score_features(pixels[0], train.labels, pixels[1], test.labels, seed=3)
    assert scores == pytest.approx(expected, abs=0.006)
    without = scoring.score_network(network, train, test, seed=3, linear=False)
    assert without.keys() == scores.keys() - {"linear_top1", "linear_C"}


def test_own_clusters_and_probe(digits, digits_run):
    model = cueco_tf.load_run(digits_run).model
    scores = scoring.score_clusters(model, digits.test)
    clusters = model.assign(digits.test.images)
    expected = evaluation.clustering_scores(digits.test.labels, clusters)
    assert {name: scores[f"centroid_{name}"] for name in expected} == expected
    assert 0 <= scores["online_top1"] <= 1

    assert set(scores) == {"online_top1", "centroid_nmi", "centroid_acc", "centroid_ari"}
    fresh = cueco_tf.CueCo(cueco_tf.build_encoder("resnet10", 8, 16), 10, queue_size=64)
    assert set(scoring.score_clusters(fresh, digits.test).values()) == {None}


@pytest.mark.slow
def test_the_linear_classifier_learns_and_leaves_the_encoder_alone(digits):
    keras.utils.set_random_seed(0)
    encoder = cueco_tf.build_encoder("resnet10", 8, 16)
    before = encoder.get_weights()
    top1 = scoring.train_linear_classifier(
        encoder,
        digits.train,
        digits.test,
        10,
        epochs=10,
        learning_rate=5.0,
        crop_scale=(0.8, 1.0),
        flip=0.0,
    )
    for weight, value in zip(before, encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, value)
    assert 0.6 < top1 <= 1
    with pytest.raises(ValueError, match="diverged at learning rate 1e"):
        scoring.train_linear_classifier(
            encoder, digits.train, digits.test, 10, epochs=1, learning_rate=1e38, flip=0.0
        )
