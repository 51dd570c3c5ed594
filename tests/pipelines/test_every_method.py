"""Every method from the command line to embeddings, and three of a kind killed and resumed."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

import cueco_tf
from cueco_tf import data, train
from cueco_tf.running import checkpoints
from cueco_tf.settings.methods import METHODS
from pipelines import embed, evaluate, export, report

pytestmark = pytest.mark.slow
OPTIONS = "--dataset digits --encoder resnet10 --width 4 --epochs 2 --image-size 8 --seed 1"
OWN = {"byol": "--optimizer lars --learning-rate 1"}


def options_of(method):
    return [*OPTIONS.split(), "--method", method, *OWN.get(method, "").split()]


def run(command, *arguments):
    assert command.main([str(argument) for argument in arguments]) == 0


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A function of a method that gives its run folder, which tests leave as it is."""
    root, made = tmp_path_factory.mktemp("runs"), {}

    def folder(method):
        if method not in made:
            made[method] = root / method
            run(train, *options_of(method), "--run-dir", made[method])
        return made[method]

    return folder


@pytest.fixture(scope="module")
def images():
    return data.load("digits", image_size=8).test.images[:12]


@pytest.mark.parametrize("method", METHODS)
def test_it_is_trained_evaluated_reported_exported_and_embeds(folders, method, tmp_path, images):
    folder, kind = folders(method), METHODS[method]
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["method"] == kind.title and summary["knn_top1"] > 0.2  # chance is 0.1
    run(evaluate, folder, "--no-baselines", "--output", tmp_path / "scores.json")
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["method"] == kind.title
    assert scores["knn_top1"] == pytest.approx(summary["knn_top1"])
    run(report, folder, "--images", 100)
    assert kind.title in (folder / "report" / "index.html").read_text()
    run(export, folder, "--output", tmp_path / "exported")
    manifest = json.loads((tmp_path / "exported" / "manifest.json").read_text())
    assert (manifest["method"], manifest["reference"]) == (kind.title, kind.reference)
    assert kind.reference in (tmp_path / "exported" / "README.md").read_text()
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{i:02d}.png")
    run(embed, tmp_path / "exported", tmp_path, "--output", tmp_path / "embeddings.npz")
    with np.load(tmp_path / "embeddings.npz") as file:
        h = cueco_tf.load_encoder(folder).predict(images, verbose=0)
        np.testing.assert_allclose(file["embeddings"], h, rtol=1e-3, atol=1e-4)
        assert file["clusters"].max() < manifest["clusters"]


@pytest.mark.parametrize("method", ["moco_v2", "byol", "swav"])
def test_killed_and_resumed_it_ends_bit_for_bit_the_same(folders, method, tmp_path):
    """With queues; with a predictor, slow networks and LARS; with prototypes."""
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "cueco_tf.train", *options_of(method)]
    process = subprocess.Popen(
        [*command, "--run-dir", folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not checkpoints.find(folder / "checkpoints"):
        assert process.poll() is None, "it ended before there was a checkpoint"
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (folder / "summary.json").exists()
    run(train, "--run-dir", folder, "--resume")
    ends = [checkpoints.find(each / "checkpoints")[0] for each in (folders(method), folder)]
    assert ends[0].name == ends[1].name
    with np.load(ends[0]) as whole, np.load(ends[1]) as resumed:
        assert whole.files == resumed.files
        for name in whole.files:
            np.testing.assert_array_equal(whole[name], resumed[name], err_msg=name)
