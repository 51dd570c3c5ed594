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
def seven(request, digits_run, tmp_path_factory):
    """A folder of seven clusters of the training digits."""
    folder = tmp_path_factory.mktemp(request.param) / request.param
    arguments = ["--count", "7", "--method", request.param, "--output", str(folder)]
    assert clusters.main([str(digits_run), *arguments]) == 0
    return folder


@pytest.fixture(scope="module")
def rows(seven):
    with open(seven / "clusters.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_its_rule_sorts_as_the_clusters_were_made(seven, rows, digits, digits_export):
    session = onnxruntime.InferenceSession(digits_export / "encoder.onnx")
    h, *_ = session.run(None, {"images": digits.train.images})
    found, similarities = read_rule(seven / RULE)(h)
    np.testing.assert_array_equal(found, [int(row["cluster"]) for row in rows])
    expected = [float(row["similarity"]) for row in rows]
    np.testing.assert_allclose(similarities, expected, atol=1e-4)


def test_an_export_sorts_by_it(seven, rows, digits, digits_run, tmp_path):
    if seven.name == "tree":
        pytest.skip("the head's rule is the same but for its numbers")
    out = tmp_path / "sorted"
    assert export.main([str(digits_run), "--clusters", str(seven), "--output", str(out)]) == 0
    session = onnxruntime.InferenceSession(out / "encoder.onnx")
    h, found, similarities = session.run(None, {"images": digits.train.images})
    np.testing.assert_array_equal(found, [int(row["cluster"]) for row in rows])
    for own, other in zip(read_rule(seven / RULE)(h), (found, similarities), strict=True):
        np.testing.assert_allclose(own, other, atol=1e-4)
    new = session.run(None, {"images": digits.test.images})[1]
    assert set(new) <= set(range(7)) and len(set(new)) > 4
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["clusters"] == manifest["clusters_used"] == 7
    assert manifest["clusters_are"] == "a clustering head"
    text = onnx.load(out / "encoder.onnx").doc_string
    assert "a clustering head" in text and "a clustering head" in (out / "README.md").read_text()


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


def test_what_is_no_rule_is_refused(seven, digits_run, tmp_path, capsys):
    given = ["--output", str(tmp_path / "none")]
    assert export.main([str(digits_run), "--clusters", str(tmp_path), *given]) == 2
    assert "should name a folder of clusters of this run" in capsys.readouterr().err
    (tmp_path / RULE).write_bytes((seven / RULE).read_bytes()[:400])
    assert export.main([str(digits_run), "--clusters", str(tmp_path), *given]) == 2
    assert "cannot be read as a rule" in capsys.readouterr().err
    other = shutil.copytree(digits_run, tmp_path / "other")
    (other / "encoder.keras").write_bytes(b"another")
    assert export.main([str(other), "--clusters", str(seven), *given]) == 2
    assert "are of another run" in capsys.readouterr().err
    np.savez(tmp_path / RULE, weights=np.ones((3, 2)))
    with pytest.raises(RuleError, match="cannot be read"):
        read_rule(tmp_path / RULE)
    assert not (tmp_path / "none").exists()
