"""Every command of a run whose method has no queue, no clusters and no key network."""

import json
import re
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
import tiny_method
from PIL import Image

import cueco_tf
from cueco_tf import train
from cueco_tf.evaluation.table import SCORES
from cueco_tf.methods.inference import inference_network
from cueco_tf.running import clusters
from cueco_tf.running.run_folder import RunError, RunFolder
from cueco_tf.settings.methods import METHODS
from pipelines import embed, evaluate, export, report, search

pytestmark = pytest.mark.slow
OWN = {name for name in SCORES if name.startswith("centroid_")}


def run(command, *arguments):
    assert command.main([str(argument) for argument in arguments]) == 0


@pytest.fixture(scope="module")
def registered():
    """The tiny method in CueCo's place: which names there are is fixed at import."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "cueco", tiny_method.TinySettings)
        yield


@pytest.fixture(scope="module")
def folder(registered, tmp_path_factory):
    """A finished run on the digits; its clusters are ten a class."""
    path = tmp_path_factory.mktemp("runs") / "tiny"
    options = "--dataset digits --encoder resnet10 --width 8 --epochs 3 --seed 1"
    run(train, *options.split(), "--run-dir", path)
    return path


@pytest.fixture(scope="module")
def exported(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "tiny"
    run(export, folder, "--output", path)
    return path


@pytest.fixture(scope="module")
def z(folder, digits):
    """The projections of the training and of the test images."""
    network = inference_network(cueco_tf.load_run(folder).model)
    return [
        network.predict(split.images, verbose=0)["projection"]
        for split in (digits.train, digits.test)
    ]


def test_training_ends_with_k_means_of_z_and_no_scores_of_centroids(folder, z):
    summary = json.loads((folder / "summary.json").read_text())
    assert not OWN & summary.keys() and "usage_entropy" not in summary
    assert 0.3 < summary["knn_top1"] <= 1 and summary["loss"] > 0
    found = cueco_tf.load_run(folder).clusters
    assert found.are == "k-means of z" and found.directions.shape == (100, tiny_method.DIM)
    np.testing.assert_allclose(np.linalg.norm(found.directions, axis=1), 1, rtol=1e-5)
    # Where k-means has settled, each centroid is the direction of its members' mean.
    own = (z[0] @ found.directions.T).argmax(axis=1)
    cosines = []
    for cluster in np.unique(own):
        mean = z[0][own == cluster].mean(axis=0)
        cosines.append(mean @ found.directions[cluster] / np.linalg.norm(mean))
    assert len(cosines) > 95 and np.mean(cosines) > 0.999


def test_the_same_run_gives_the_same_clusters(folder, digits, tmp_path):
    run = cueco_tf.load_run(folder)
    clusters.make_clusters(RunFolder(tmp_path), run.model, digits.train, run.config.seed)
    again = clusters.read_clusters(RunFolder(tmp_path), run.model)
    np.testing.assert_allclose(again.directions, run.clusters.directions, atol=1e-5)
    (tmp_path / "clusters.npz").write_text("damaged")
    with pytest.raises(RunError, match=r"clusters\.npz cannot be read"):
        clusters.read_clusters(RunFolder(tmp_path), run.model)
    np.savez(tmp_path / "clusters.npz", directions=np.ones((3, 4), np.float32))
    with pytest.raises(RunError, match=r"float32 \(L, 32\)\. Received: float32 \(3, 4\)"):
        clusters.read_clusters(RunFolder(tmp_path), run.model)
    (tmp_path / "clusters.npz").unlink()
    assert clusters.read_clusters(RunFolder(tmp_path), run.model) is None


@pytest.mark.parametrize(
    "classes, images, count",
    [(10, 10_000, 100), (None, 10_000, 100), (1000, 10_000, 2500), (None, 40, 10), (2, 3, 2)],
)
def test_there_are_as_many_clusters_as_the_images_allow(classes, images, count):
    assert clusters.cluster_count(classes, images) == count


def test_it_is_evaluated_without_centroids(folder, tmp_path, capsys):
    run(evaluate, folder, "--no-baselines", "--output", tmp_path / "scores.json")
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert not OWN & scores.keys() and "num_clusters" not in scores
    summary = json.loads((folder / "summary.json").read_text())
    for name in ("knn_top1", "knn200_top1", "online_top1"):
        assert scores[name] == pytest.approx(summary[name])
    table = capsys.readouterr().out
    assert "centroids" not in table and re.search(r"test split, % +Tiny\n", table)


def test_its_report_says_what_the_clusters_are(folder):
    run(report, folder, "--images", 300)
    text = (folder / "report" / "index.html").read_text()
    used = re.search(r"100 clusters, (\d+) of them used \(k-means of z\)", text)[1]
    assert "Tiny learns no clusters" in text
    assert text.count('<li id="cluster-') == int(used) > 50 and "centroids</th>" not in text
    figures = {path.stem for path in (folder / "report").glob("*.png")}
    assert {"losses", "accuracy", "learning_rate", "similarity", "map", "clusters"} <= figures
    assert not {"usage_entropy", "dead_clusters", "key_momentum"} & figures


def test_its_export_holds_the_clusters_and_says_what_they_are(exported, folder, z, digits):
    manifest = json.loads((exported / "manifest.json").read_text())
    assert (manifest["clusters"], manifest["clusters_are"]) == (100, "k-means of z")
    assert manifest["clusters_trained"] is True and manifest["warnings"] == []
    card = (exported / "README.md").read_text()
    assert "the centroids of k-means of the training images' projections z" in card
    model = onnx.load(exported / "encoder.onnx")
    assert "nearest centroid of k-means of z" in model.doc_string
    session = onnxruntime.InferenceSession(exported / "encoder.onnx")
    _, found, similarity = session.run(None, {"images": digits.test.images})
    cosines = z[1] @ cueco_tf.load_run(folder).clusters.directions.T
    np.testing.assert_allclose(similarity, cosines.max(axis=1), atol=1e-5)
    assert np.mean(found == cosines.argmax(axis=1)) > 0.995


def test_a_lower_precision_keeps_what_the_file_says(folder, tmp_path):
    run(export, folder, "--output", tmp_path / "half", "--precision", "float16")
    model = onnx.load(tmp_path / "half" / "encoder.onnx")
    assert "nearest centroid of k-means of z" in model.doc_string


def test_its_embeddings_are_sorted_and_searched(exported, digits, tmp_path, capsys):
    (tmp_path / "digits").mkdir()
    for i, image in enumerate(digits.test.images[:20]):
        Image.fromarray(image).save(tmp_path / "digits" / f"{i:02d}.png")
    out, copies = tmp_path / "digits.npz", tmp_path / "copies"
    run(embed, exported, tmp_path / "digits", "--output", out, "--copy-to", copies)
    with np.load(out) as file:
        assert file["clusters"].max() < 100 and len(file["embeddings"]) == 20
        names = {f"{cluster:02d}" for cluster in file["clusters"]}
    assert {path.name for path in copies.iterdir()} == names
    capsys.readouterr()
    run(search, out, tmp_path / "digits" / "03.png", "--top", 2)
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_an_unfinished_run_has_no_clusters_yet_and_a_report_without_them(folder, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(folder, path)
    shutil.rmtree(path / "report", ignore_errors=True)
    for name in ("summary.json", "clusters.npz"):
        (path / name).unlink()
    assert cueco_tf.load_run(path).clusters is None
    run(report, path, "--images", 100)
    text = (path / "report" / "index.html").read_text()
    assert "100 clusters" in text and '<li id="cluster-' not in text
