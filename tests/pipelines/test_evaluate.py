"""`python -m pipelines.evaluate` as its users run it."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import cueco_tf
from cueco_tf import evaluation
from cueco_tf.evaluation.feature_file import ARRAYS
from pipelines import evaluate


def run(*arguments):
    command = [sys.executable, "-m", "pipelines.evaluate", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def refused(*arguments):
    """The one line of a refusal."""
    code, _, err = run(*arguments)
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2 and len(lines) == 1, err
    return lines[0]


@pytest.fixture
def features(digits, tmp_path):
    """Raw digits as features, with labels that start at 5."""
    arrays = {}
    for name, split in (("train", digits.train), ("test", digits.test)):
        arrays[f"{name}_x"] = split.images[:, ::2, ::2, 0].reshape(len(split), -1) / 255
        arrays[f"{name}_y"] = split.labels + 5
    np.savez(tmp_path / "features.npz", **arrays)
    return arrays


def test_a_run_is_scored_beside_its_baselines(digits, digits_run, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(digits_run, path)
    code, out, err = run(path)
    assert code == 0, err
    scores = json.loads((path / "evaluation.json").read_text())
    names = ["knn_top1", "knn200_top1", "linear_top1", "nmi", "acc", "ari"]
    for name in [*names, *(f"{p}{n}" for p in ("raw_", "random_") for n in names)]:
        assert 0 <= scores[name] <= 1
    assert scores["online_top1"] is not None and scores["centroid_nmi"] is not None
    assert (scores["dataset"], scores["protocol"], scores["seed"]) == ("digits", "fast", 0)
    assert (scores["train_samples"], scores["test_samples"]) == (1437, 360)
    assert scores["num_clusters"] == scores["num_classes"] == 10

    encoder = cueco_tf.load_encoder(path)
    x = [encoder.predict(split.images, verbose=0) for split in (digits.train, digits.test)]
    y = digits.train.labels, digits.test.labels
    assert scores["knn_top1"] == evaluation.knn_accuracy(x[0], y[0], x[1], y[1])
    found = evaluation.kmeans_scores(x[1], y[1], 10)
    assert {name: scores[name] for name in found} == pytest.approx(found)
    summary = json.loads((path / "summary.json").read_text())
    shared = [name for name in (*names, "online_top1", "centroid_ari") if name in summary]
    assert len(shared) == 8
    assert {n: scores[n] for n in shared} == pytest.approx({n: summary[n] for n in shared})
    for text in ("random encoder", "raw pixels", f"{100 * scores['linear_top1']:.1f}"):
        assert text in out


@pytest.mark.slow
def test_a_run_is_probed_on_another_set(digits, digits_run, tmp_path):
    for i in range(60):
        folder = tmp_path / "images" / "odd" if digits.train.labels[i] % 2 else tmp_path / "images"
        folder = folder if folder.name == "odd" else folder / "even"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.train.images[i]).save(folder / f"{i}.png")
    for i in range(90):  # so many without a class that the sub-folders are classes when asked for
        Image.fromarray(digits.train.images[i]).save(tmp_path / "images" / f"{i}.png")
    output = tmp_path / "transfer.json"
    options = ["--dataset", f"folder:{tmp_path / 'images'}", "--labels", "folders"]
    options += ["--protocol", "sgd", "--epochs", "3"]
    code, _, err = run(digits_run, *options, "--no-baselines", "--output", output)
    assert code == 0, err
    scores = json.loads(output.read_text())
    assert (scores["num_classes"], scores["num_clusters"]) == (2, 10)
    assert (scores["train_samples"], scores["test_samples"]) == (48, 12)
    assert scores["online_top1"] is None and scores["protocol"] == "sgd"
    assert 0 <= scores["linear_top1"] <= 1 and "raw_knn_top1" not in scores
    assert not (digits_run / "evaluation.json").exists()


def test_features_of_any_origin(features, tmp_path):
    output = tmp_path / "scores.json"
    script = (
        "import sys; from pipelines import evaluate; code = evaluate.main(sys.argv[1:]); "
        "assert 'tensorflow' not in sys.modules; sys.exit(code)"
    )
    options = ["--embeddings", tmp_path / "features.npz", "--output", output]
    done = subprocess.run([sys.executable, "-c", script, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    scores = json.loads(output.read_text())
    expected = evaluation.score_features(*(features[n] for n in ARRAYS))
    assert {name: scores[name] for name in expected} == pytest.approx(expected)


def test_help_needs_no_tensorflow():
    script = "import sys; from pipelines import evaluate\ntry:\n evaluate.main(['--help'])\n"
    script += "except SystemExit:\n assert not {'tensorflow', 'sklearn'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--embeddings" in done.stdout and "beat both" in done.stdout


def test_bad_features_are_refused_and_nothing_is_overwritten(features, tmp_path, capsys):
    output = tmp_path / "scores.json"
    output.write_text("precious")

    def refusal(**arrays):
        np.savez(tmp_path / "bad.npz", **arrays)
        options = ["--embeddings", str(tmp_path / "bad.npz"), "--output", str(output)]
        assert evaluate.main(options) == 2
        assert output.read_text() == "precious"
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        return lines[0]

    pickled = features | {"train_y": np.array([{}] * len(features["train_y"]))}
    assert "cannot be read" in refusal(**pickled)
    assert "Missing: test_y" in refusal(**{n: a for n, a in features.items() if n != "test_y"})
    assert "rows of one length" in refusal(**features | {"test_x": features["test_x"][:, 1:]})
    assert "(n, dim)" in refusal(**features | {"test_x": features["test_x"][:, 0]})
    assert "train samples, but" in refusal(**features | {"train_y": features["train_y"][1:]})
    assert "fit float32" in refusal(**features | {"test_x": features["test_x"] * 1e30})
    assert "finite" in refusal(**features | {"test_x": features["test_x"] * np.nan})
    assert "two classes" in refusal(**features | {"train_y": features["train_y"] * 0})
    for option in (("--protocol", "sgd"), ("--dataset", "cifar10"), ("--labels", "none")):
        options = ["--embeddings", str(tmp_path / "bad.npz"), "--output", str(output), *option]
        assert evaluate.main(options) == 2
        assert "are of a RUN: --embeddings holds all" in capsys.readouterr().err
    (tmp_path / "no.npz").write_text("no")
    options = ["--embeddings", str(tmp_path / "no.npz"), "--output", str(output)]
    assert evaluate.main(options) == 2 and "cannot be read" in capsys.readouterr().err


def test_what_is_no_run_or_has_no_labels_is_refused(digits_run, tmp_path):
    assert "is not a run folder" in refused(tmp_path)
    assert list(tmp_path.iterdir()) == []
    path = tmp_path / "run"
    shutil.copytree(digits_run, path)
    assert "--dataset should be one of" in refused(path, "--dataset", "digit")
    assert "There is no folder" in refused(path, "--dataset", "folder:/no/such/folder")
    assert "--labels should be left out: it is of --dataset folder" in refused(
        path, "--labels", "none"
    )
    assert "There is no folder" in refused(path, "--output", tmp_path / "none" / "scores.json")
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"train_images": 1400}))
    assert "has changed since the run was trained: it had 1400" in refused(path)
    config |= {"dataset": "folder:photos", "num_classes": None}
    (path / "config.json").write_text(json.dumps(config))
    assert "has no labels" in refused(path)
    assert not (path / "evaluation.json").exists()
