"""One check of labels, at every door by which they come in."""

import numpy as np
import pytest
import small_methods
import tensorflow as tf

from cueco_tf import evaluation
from cueco_tf.data.labels import check_labels, labelled
from cueco_tf.evaluation.feature_file import FeatureError, read_features

N, CLASSES = 24, 4
GOOD = np.arange(N) % CLASSES
# What labels are not, and what is said of it; the last two only where the classes are known.
BAD = {
    "one-hot": (np.eye(CLASSES)[GOOD], r"Received shape: \(24, 4\). Of one-hot rows give"),
    "floats": (GOOD / 1.0, "Received dtype: float64. Convert them first"),
    "truths": (GOOD > 1, "Received dtype: bool"),
    "below -1": (GOOD - 2, "or -1 where unknown. Received: -2"),
    "another number": (GOOD[:-1], "Received 24 .*, but 23 labels"),
    "text": (GOOD.astype(str), "Received dtype: <U21"),
    "too large": (GOOD + 1, "below num_classes=4, from 0 on. Received: 4"),
}


@pytest.fixture(scope="module")
def images(digits):
    return digits.train.images[:N]


def from_array(images, labels):
    return small_methods.make("simclr", num_classes=CLASSES).fit(images, labels, verbose=0)


def from_dataset(images, labels):
    # A batch of its own number of labels, as a generator may yield it.
    signature = (
        tf.TensorSpec((None, 16, 16, 3), tf.uint8),
        tf.TensorSpec((None, *labels.shape[1:]), tf.as_dtype(labels.dtype)),
    )
    dataset = tf.data.Dataset.from_generator(lambda: [(images, labels)], output_signature=signature)
    model = small_methods.make("simclr", num_classes=CLASSES)
    return model.fit(dataset, steps_per_epoch=1, verbose=0)


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("door", [from_array, from_dataset])
def test_training_refuses_what_labels_are_not(images, name, door):
    labels, message = BAD[name]
    if door is from_dataset:
        message = message.replace("24, 4", "None, 4").replace("<U21", "object")
    with pytest.raises(ValueError, match=f"^[^\n]*{message}[^\n]*$"):
        door(images, labels)


@pytest.mark.parametrize("door", [from_array, from_dataset])
def test_training_takes_columns_unknown_ones_and_any_integers(images, door):
    found = door(images, np.where(GOOD == 3, -1, GOOD).astype("i1")[:, None]).history
    assert np.isfinite(found["loss"]).all() and 0 <= found["online_top1"][-1] <= 1


def test_a_compiled_step_meets_no_label_that_is_out_of_range(images):
    model = small_methods.make("simclr", compiled=True, num_classes=CLASSES)
    dataset = tf.data.Dataset.from_tensors((images, GOOD + 1))
    with pytest.raises(ValueError, match=r"^Labels should be below num_classes=4"):
        model.fit(dataset, verbose=0)


def test_labels_that_nothing_uses_get_a_warning(images):
    for given in ((images, GOOD), (tf.data.Dataset.from_tensors((images, GOOD)),)):
        with pytest.warns(UserWarning, match="made without `num_classes`, so it trains no probe"):
            small_methods.make("simclr", num_classes=None).fit(*given, verbose=0)


X = np.concatenate([np.eye(CLASSES)[GOOD], np.random.default_rng(0).random((N, 3)) / 9], axis=1)
SCORES = {
    "k-NN": lambda y: evaluation.knn_accuracy(X, y, X, y, k=3),
    "linear": lambda y: evaluation.linear_probe(X, y, X, y, C=1.0),
    "regularisation": lambda y: evaluation.choose_regularization(X, y),
    "k-means": lambda y: evaluation.kmeans_scores(X, y, CLASSES),
    "all": lambda y: evaluation.score_features(X, y, X, y),
    "clusters": lambda y: evaluation.clustering_scores(y, GOOD),
}


@pytest.mark.parametrize("name", sorted(set(BAD) - {"text", "too large"}))
@pytest.mark.parametrize("score", SCORES)
def test_scores_refuse_what_labels_are_not(score, name):
    labels, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        SCORES[score](labels)


@pytest.mark.parametrize("score", ["k-NN", "linear", "regularisation", "clusters"])
def test_scores_take_names_and_columns(score):
    expected = SCORES[score](GOOD)
    names = np.array(["ant", "bee", "cat", "dog"])[GOOD]
    for labels in (GOOD[:, None], names, names.astype(object), names.astype("S")):
        assert SCORES[score](labels) == expected


def test_unknown_labels_neither_vote_nor_are_scored():
    kept = np.arange(N) % 3 > 0
    unknown = np.where(kept, GOOD, -1)
    short = X[kept], GOOD[kept], X[kept], GOOD[kept]
    whole = X, unknown, X, unknown
    assert evaluation.knn_accuracy(*whole, k=3) == evaluation.knn_accuracy(*short, k=3)
    assert evaluation.linear_probe(*whole, C=1.0) == evaluation.linear_probe(*short, C=1.0)
    assert evaluation.score_features(*whole) == evaluation.score_features(*short)
    wrong = np.where(kept, GOOD, 0)  # of an unknown image any cluster will do
    assert evaluation.clustering_scores(unknown, wrong)["acc"] == 1.0
    with pytest.raises(ValueError, match="No test sample has a label"):
        evaluation.knn_accuracy(X, GOOD, X, np.full(N, -1))
    with pytest.raises(ValueError, match="a single class and -1, which means unknown"):
        evaluation.knn_accuracy(X, np.where(GOOD > 1, 1, -1), X, GOOD)


def test_a_file_of_features_is_checked_alike(tmp_path):
    def written(**changed):
        arrays = dict(train_x=X, train_y=GOOD, test_x=X, test_y=GOOD) | changed
        np.savez(tmp_path / "f.npz", **arrays)
        return tmp_path / "f.npz"

    unknown = np.where(GOOD == 0, -1, GOOD)
    train_x, train_y, test_x, _ = read_features(written(train_y=unknown))
    assert len(train_x) == len(train_y) == 18 and len(test_x) == N and train_x.dtype == np.float32
    for name in ("one-hot", "floats", "below -1", "another number"):
        labels, message = BAD[name]
        with pytest.raises(FeatureError, match=message):
            read_features(written(test_y=labels))
    with pytest.raises(FeatureError, match=r"f.npz: train_x should .* fit float32"):
        read_features(written(train_x=X * 1e30))


@pytest.mark.parametrize("scale, message", [(1e30, "1e[+]30"), (1e-30, "1e-30"), (np.nan, "NaN")])
@pytest.mark.parametrize("score", ["k-NN", "linear", "regularisation", "k-means", "all"])
def test_features_that_float32_cannot_square_are_refused(score, scale, message, monkeypatch):
    monkeypatch.setitem(globals(), "X", X * scale)
    with pytest.raises(ValueError, match=message):
        SCORES[score](GOOD)


def test_large_features_that_float32_can_square_score_as_small_ones():
    for scale in (1e15, 1e-10):
        assert evaluation.knn_accuracy(X * scale, GOOD, X * scale, GOOD, k=3) == 1.0
        assert evaluation.linear_probe(X * scale, GOOD, X * scale, GOOD, C=1.0) == 1.0


def test_what_is_checked_is_returned_as_it_is():
    np.testing.assert_array_equal(check_labels(GOOD[:, None], N, CLASSES), GOOD)
    x, y = labelled(X, np.where(GOOD == 2, -1, GOOD), "train")
    assert set(y) == {0, 1, 3} and len(x) == 18
