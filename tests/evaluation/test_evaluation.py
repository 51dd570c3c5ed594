import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize
from threadpoolctl import threadpool_info, threadpool_limits

from cueco_tf import evaluation
from cueco_tf.evaluation import features


@pytest.fixture(scope="module")
def arrays(digits):
    parts = []
    for split in (digits.train, digits.test):
        parts += [split.images[:, ::2, ::2, 0].reshape(len(split), -1) / 255, split.labels]
    return parts


@pytest.mark.parametrize("k", [1, 20, 200])
def test_knn_equals_scikit_learn(arrays, k):
    train_x, train_y, test_x, test_y = arrays
    peer = KNeighborsClassifier(
        k, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.07)
    )
    with threadpool_limits(1):
        expected = peer.fit(train_x, train_y).score(test_x, test_y)
    assert evaluation.knn_accuracy(*arrays, k=k) == pytest.approx(expected, abs=1e-9)


def test_knn_in_blocks_is_the_same(arrays, monkeypatch):
    expected = evaluation.knn_accuracy(*arrays, k=20)
    monkeypatch.setattr(features, "_BLOCK", 7 * len(arrays[0]))  # seven test rows at a time
    assert evaluation.knn_accuracy(*arrays, k=20) == expected


def test_knn_with_more_neighbours_than_rows_and_odd_labels():
    x = np.eye(3)
    names = np.array(["a", "b", "a"])
    assert evaluation.knn_accuracy(x, names, x, names, k=50, temperature=0.05) == 1.0


@pytest.mark.parametrize("C", [0.01, 1.0])
def test_linear_probe_is_scikit_learns(arrays, C):
    train_x, train_y, test_x, test_y = arrays
    peer = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=10_000, tol=1e-8))
    expected = peer.fit(train_x, train_y).score(test_x, test_y)
    assert evaluation.linear_probe(*arrays, C=C) == pytest.approx(expected, abs=0.003)


def test_regularization_is_strong_in_noise_and_weak_without():
    rng = np.random.default_rng(0)
    labels = np.arange(900) % 3
    signal = np.eye(3)[labels]
    noisy = np.concatenate([signal, rng.normal(size=(900, 200))], axis=1)
    assert evaluation.choose_regularization(noisy, labels) <= 0.01
    # Two classes close together, the third far away: only large weights tell the two apart.
    line = np.array([0.0, 9.0, 10.0])[labels, None] + 0.1 * rng.normal(size=(900, 1))
    assert evaluation.choose_regularization(line, labels + 7) >= 0.1


def test_the_regularization_is_chosen_without_the_test_split(arrays):
    train_x, train_y, test_x, test_y = arrays
    C = evaluation.choose_regularization(train_x, train_y, seed=1)
    scores = evaluation.score_features(*arrays, seed=1)
    shuffled = np.random.default_rng(0).permutation(test_y)
    other = evaluation.score_features(train_x, train_y, test_x, shuffled, seed=1)
    assert scores["linear_C"] == other["linear_C"] == C
    assert scores["linear_top1"] == evaluation.linear_probe(*arrays, C=C)


def test_a_class_with_a_single_sample_can_be_probed():
    x, y = np.eye(12)[np.arange(60) % 12], np.arange(60) % 12
    y[0] = 99
    assert evaluation.choose_regularization(x, y) in evaluation.REGULARIZATIONS


@pytest.mark.parametrize("classes, clusters", [(5, 5), (5, 9), (9, 4), (1, 3), (4, 1)])
def test_clustering_scores_equal_scikit_learn(classes, clusters):
    rng = np.random.default_rng(classes * clusters)
    labels, found = rng.integers(3, 3 + classes, 300), rng.integers(0, clusters, 300) * 2
    scores = evaluation.clustering_scores(labels, found)
    assert scores["nmi"] == pytest.approx(normalized_mutual_info_score(labels, found))
    assert scores["ari"] == pytest.approx(adjusted_rand_score(labels, found))


def test_accuracy_is_the_best_matching():
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    clusters = np.array([7, 7, 5, 5, 5, 9, 9, 7])
    assert evaluation.clustering_scores(labels, clusters)["acc"] == pytest.approx(6 / 8)
    perfect = evaluation.clustering_scores(labels, (labels + 1) % 3)
    assert perfect == {"nmi": pytest.approx(1), "acc": 1.0, "ari": 1.0}
    # A cluster too many can match no class.
    split = evaluation.clustering_scores(np.zeros(4, int), np.array([0, 0, 0, 1]))
    assert split["acc"] == 0.75


def test_kmeans_scores_are_the_mean_of_ten_clusterings(arrays):
    *_, x, y = arrays
    unit = normalize(x).astype(np.float32)
    nmi = [
        normalized_mutual_info_score(y, KMeans(10, n_init=10, random_state=seed).fit_predict(unit))
        for seed in range(7, 17)
    ]
    assert np.std(nmi) > 0.002  # a single one would tell little
    scores = evaluation.kmeans_scores(x, y, 10, seed=7)
    assert scores["nmi"] == pytest.approx(np.mean(nmi), abs=0.003)
    assert set(scores) == {"nmi", "acc", "ari"}


def test_kmeans_scores_are_those_of_the_best_of_many_starts(arrays):
    x, y, *_ = arrays
    unit = normalize(x).astype(np.float32)
    with threadpool_limits(1):
        best = KMeans(10, n_init=100, random_state=1).fit_predict(unit)
    expected = evaluation.clustering_scores(y, best)
    assert evaluation.kmeans_scores(x, y, 10) == pytest.approx(expected, abs=0.005)


def test_small_scores_are_worked_out_on_one_thread_each(arrays, monkeypatch):
    """Several would wait for each other, and round differently on every machine."""
    seen = []

    def spied(fit):
        def spy(*args, **kwargs):
            seen.append((fit, {pool["num_threads"] for pool in threadpool_info()}))
            return fit(*args, **kwargs)

        return spy

    for owner, name in ((KMeans, "fit"), (LogisticRegression, "fit")):
        monkeypatch.setattr(owner, name, spied(getattr(owner, name)))
    with threadpool_limits(2):
        evaluation.score_features(*(each[:200] for each in arrays))
        assert {pool["num_threads"] for pool in threadpool_info()} == {2}
    assert len(seen) >= 10 + 2 and all(threads == {1} for _, threads in seen)


def test_score_features_reaches_the_known_level_of_raw_digits(arrays):
    scores = evaluation.score_features(*arrays)
    assert scores["knn200_top1"] == evaluation.knn_accuracy(*arrays, k=200)
    assert scores["knn_top1"] > 0.95 and scores["linear_top1"] > 0.93
    assert 0.6 < scores["nmi"] < 0.8 and 0.55 < scores["acc"] < 0.8


def test_wrong_values_are_refused(arrays):
    train_x, train_y, test_x, test_y = arrays
    with pytest.raises(ValueError, match="`k` should be"):
        evaluation.knn_accuracy(*arrays, k=0)
    with pytest.raises(ValueError, match="`temperature` should be"):
        evaluation.knn_accuracy(*arrays, temperature=0)
    with pytest.raises(ValueError, match="1437 train samples, but 1436 labels"):
        evaluation.knn_accuracy(train_x, train_y[1:], test_x, test_y)
    with pytest.raises(ValueError, match="two classes"):
        evaluation.linear_probe(train_x, np.zeros_like(train_y), test_x, test_y)
    with pytest.raises(ValueError, match="two classes"):
        evaluation.choose_regularization(train_x, np.zeros_like(train_y))
    with pytest.raises(ValueError, match="fewer than the 10 classes"):
        evaluation.score_features(train_x, train_y, test_x[:9], test_y[:9])
    with pytest.raises(ValueError, match="360 clustered samples, but 1437 labels"):
        evaluation.clustering_scores(train_y, test_y)
