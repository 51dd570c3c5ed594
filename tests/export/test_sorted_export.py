"""An export that sorts into clusters which were made of the embeddings afterwards."""

import csv
import json
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest

from cueco_tf.clustering.rule import RULE, Rule, RuleError, read_rule
from cueco_tf.evaluation.vectors import normalize
from pipelines import clusters, export


@pytest.fixture(scope="module", params=["tree", "head"])
def made(request, digits_run, tmp_path_factory):
    """Seven clusters of the training digits and an export that sorts into them."""
    folder = tmp_path_factory.mktemp(request.param)
    arguments = ["--count", "7", "--method", request.param, "--output", str(folder / "seven")]
    assert clusters.main([str(digits_run), *arguments]) == 0
    options = ["--clusters", str(folder / "seven"), "--output", str(folder / "sorted")]
    assert export.main([str(digits_run), *options]) == 0
    return folder, request.param


def test_it_sorts_as_the_clusters_were_made(made, digits, digits_run):
    folder, method = made
    session = onnxruntime.InferenceSession(folder / "sorted" / "encoder.onnx")
    h, found, similarities = session.run(None, {"images": digits.train.images})
    with open(folder / "seven" / "clusters.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_array_equal(found, [int(row["cluster"]) for row in rows])
    expected = [float(row["similarity"]) for row in rows]
    np.testing.assert_allclose(similarities, expected, atol=1e-4)
    rule = read_rule(folder / "seven" / RULE)
    for own, other in zip(rule(h), (found, similarities), strict=True):
        np.testing.assert_allclose(own, other, atol=1e-4)
    new = session.run(None, {"images": digits.test.images})[1]
    assert set(new) <= set(range(7)) and len(set(new)) > 4
    manifest = json.loads((folder / "sorted" / "manifest.json").read_text())
    assert manifest["clusters"] == manifest["clusters_used"] == 7
    kind = {"tree": "a tree of k-means clusters", "head": "a clustering head"}[method]
    assert manifest["clusters_are"] == kind
    text = onnx.load(folder / "sorted" / "encoder.onnx").doc_string
    card = (folder / "sorted" / "README.md").read_text()
    assert kind in text and kind in card


def test_a_rule_is_a_formula():
    rng = np.random.default_rng(0)
    weights, bias = rng.normal(size=(5, 4)), rng.normal(size=4)
    rule = Rule(weights, bias, np.array([1, 0, 1, 2]), normalize(rng.normal(size=(3, 5))), "tree")
    x = rng.normal(size=(20, 5)) * 7
    found, similarities = rule(x)
    for row, cluster, similarity in zip(x, found, similarities, strict=True):
        unit = row / np.sqrt((row**2).sum())
        assert cluster == [1, 0, 1, 2][int(np.argmax(unit @ weights + bias))]
        assert similarity == pytest.approx(float(unit @ rule.centroids[cluster]), abs=1e-6)


def test_what_is_no_rule_is_refused(made, digits_run, tmp_path, capsys):
    folder, _ = made
    given = ["--output", str(tmp_path / "none")]
    assert export.main([str(digits_run), "--clusters", str(tmp_path), *given]) == 2
    assert "should name a folder of clusters of this run" in capsys.readouterr().err
    (tmp_path / RULE).write_bytes((folder / "seven" / RULE).read_bytes()[:400])
    assert export.main([str(digits_run), "--clusters", str(tmp_path), *given]) == 2
    assert "cannot be read as a rule" in capsys.readouterr().err
    other = shutil.copytree(digits_run, tmp_path / "other")
    (other / "encoder.keras").write_bytes(b"another")
    assert export.main([str(other), "--clusters", str(folder / "seven"), *given]) == 2
    assert "are of another run" in capsys.readouterr().err
    np.savez(tmp_path / RULE, weights=np.ones((3, 2)))
    with pytest.raises(RuleError, match="cannot be read"):
        read_rule(tmp_path / RULE)
    assert not (tmp_path / "none").exists()
