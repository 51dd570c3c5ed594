"""Runs that begin with a network of their users, or with known weights."""

import json
import shutil
import sys
import threading

import keras
import numpy as np
import pytest
from PIL import Image

import cueco_tf
from cueco_tf import train
from cueco_tf.running import checkpoints
from cueco_tf.running.run_folder import RunError, RunFolder
from pipelines import embed, evaluate, export, report

pytestmark = pytest.mark.slow
SMALL = "--image-size 16 --batch-size 16 --queue-size 60 --hidden-dim 32 --projection-dim 16"
LIFE = f"{SMALL} --clusters 3 --epochs 4 --freeze-epochs 2 --seed 3"

NETWORK = '''
import keras
from keras import layers


@keras.saving.register_keras_serializable("users")
class Halved(layers.Layer):
    def call(self, inputs):
        return inputs / 2


def own(image_size):
    """Nested, of any size, with a layer of its own."""
    inner = keras.Input((None, None, 8))
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(inner))
    block = keras.Model(inner, layers.ReLU()(x), name="block")
    end = keras.Sequential([layers.Conv2D(16, 3, 2), layers.BatchNormalization()])
    return keras.Sequential(
        [
            keras.Input((None, None, 3)),
            layers.Rescaling(1 / 255),
            Halved(),
            layers.Conv2D(8, 3, 2, padding="same"),
            block,
            end,
            layers.Dropout(0.3),
            layers.GlobalAveragePooling2D(),
        ]
    )


def broken(image_size):
    raise RuntimeError("no such luck")
'''


class After(threading.Event):
    """Set at the end of so many steps, none of them an epoch's last; a run asks twice a step."""

    def __init__(self, steps):
        super().__init__()
        self.left = 2 * (steps - 1)

    def is_set(self):
        self.left -= 1
        return self.left < 0


def main(command, *arguments, **options):
    line = [part for argument in arguments for part in str(argument).split()]
    return command.main(line, **options)


def steps(folder):
    return [int(path.stem.partition("-")[2]) for path in checkpoints.find(folder / "checkpoints")]


def state(folder, step):
    with np.load(folder / "checkpoints" / f"step-{step:09d}.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    """A user's module, importable."""
    folder = tmp_path_factory.mktemp("module")
    (folder / "users_own_network.py").write_text(NETWORK)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder
    sys.modules.pop("users_own_network", None)


@pytest.fixture(scope="module")
def pictures(digits, tmp_path_factory):
    """A folder of a few digits of three classes, as the option that names it."""
    folder = tmp_path_factory.mktemp("pictures")
    for digit in range(3):
        (folder / f"digit-{digit}").mkdir()
        for i, image in enumerate(digits.train.images[digits.train.labels == digit][:40]):
            Image.fromarray(image).save(folder / f"digit-{digit}" / f"{i}.png")
    return f"--dataset folder:{folder}"


@pytest.fixture(scope="module")
def finished(module, pictures, tmp_path_factory):
    """An undisturbed run of a file, which is there no more; one that was stopped while its encoder
    was frozen, after that, and in its last epoch; and what it was at the first of these times."""
    import users_own_network

    folder = tmp_path_factory.mktemp("runs")
    source = folder / "own.keras"
    keras.utils.set_random_seed(7)
    users_own_network.own(16).save(source)
    options = LIFE, pictures, f"--encoder file:{source}"
    whole, stopped = folder / "whole", folder / "stopped"
    assert main(train, *options, "--run-dir", whole) == 0
    epoch = RunFolder(whole).read_config().steps_per_epoch
    assert epoch >= 4
    assert main(train, *options, "--run-dir", stopped, stop=After(2)) == 143
    source.unlink()
    frozen = cueco_tf.load_run(stopped)
    resume = "--run-dir", stopped, "--resume"
    for step in (2 * epoch + 3, 3 * epoch + 1):
        assert main(train, *resume, stop=After(step - steps(stopped)[0])) == 143
        assert steps(stopped)[0] == step
    return whole, stopped, frozen


def test_a_stopped_run_goes_on_as_one_that_was_not(finished):
    whole, stopped, _ = finished
    ends = set(steps(whole)) & set(steps(stopped))
    (step,) = ends  # of the third of four epochs
    expected, found = state(whole, step), state(stopped, step)
    assert expected.keys() == found.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_the_head_learns_first(finished):
    whole, _, frozen = finished
    began = keras.models.load_model(whole / "start.keras")
    for own, start in zip(frozen.model.encoder.weights, began.weights, strict=True):
        np.testing.assert_array_equal(own, start)
    encoder = cueco_tf.load_encoder(whole)
    moved = [
        np.any(own.numpy() != start.numpy())
        for own, start in zip(encoder.weights, began.weights, strict=True)
    ]
    assert all(moved), moved
    assert len(encoder.trainable_weights) == len(began.trainable_weights) > 0
    rows = RunFolder(whole).read_metrics(RunFolder(whole).read_config())
    assert rows[0]["knn_top1"] == rows[1]["knn_top1"]


def test_every_command_knows_the_run_without_its_source(finished, digits, tmp_path, capsys):
    whole, exported = finished[0], tmp_path / "exported"
    assert main(evaluate, whole, "--output", tmp_path / "scores.json") == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert all(0 < scores[f"{p}knn_top1"] <= 1 for p in ("", "start_", "random_", "raw_"))
    assert "as it began" in capsys.readouterr().out
    assert main(report, whole) == 0
    assert main(export, whole, "--output", exported) == 0
    manifest = json.loads((exported / "manifest.json").read_text())
    assert manifest["run"]["config"]["start"] == cueco_tf.load_run(whole).config.start
    assert manifest["parity"]["encoder.onnx"]["embedding_difference"] < 1e-4
    assert "width" not in (exported / "README.md").read_text().partition("\n| file")[0]
    (tmp_path / "photos").mkdir()
    for i, image in enumerate(digits.test.images[:5]):
        Image.fromarray(image).save(tmp_path / "photos" / f"{i}.png")
    assert main(embed, exported, tmp_path / "photos", "--output", tmp_path / "o.npz") == 0
    with np.load(tmp_path / "o.npz") as file:
        assert file["embeddings"].shape == (5, 16) and np.any(file["embeddings"] != 0)


def test_another_start_is_refused(finished, tmp_path, capsys):
    run = shutil.copytree(finished[0], tmp_path / "run")
    (run / "summary.json").unlink()
    with open(run / "start.keras", "ab") as file:
        file.write(b" ")
    assert main(train, "--run-dir", run, "--resume") == 2
    assert "is not the encoder that the run began with" in capsys.readouterr().err
    (run / "start.keras").unlink()
    with pytest.raises(RunError, match=r"start\.keras cannot be read: .* copy the run whole"):
        cueco_tf.load_run(run)


def test_a_function_makes_the_encoder_and_a_run_gives_weights(module, pictures, finished, tmp_path):
    """The network of a function, with the weights of a run of the same."""
    run, epoch = tmp_path / "run", f"{SMALL} --epochs 1 --freeze-epochs 1"
    encoder = "--encoder python:users_own_network:own"
    assert main(train, epoch, pictures, encoder, "--weights", finished[0], "--run-dir", run) == 0
    given, kept = (cueco_tf.load_encoder(each) for each in (finished[0], run))
    for own, expected in zip(kept.weights, given.weights, strict=True):
        np.testing.assert_array_equal(own, expected)  # its only epoch was the head's
    assert kept.trainable_weights
    assert cueco_tf.load_run(run).config.weights == str(finished[0])


@pytest.mark.parametrize(
    "options, message",
    [
        ("--encoder python:users_own_network:broken", "RuntimeError: no such luck"),
        ("--encoder python:users_own_network:nothing", "has no attribute 'nothing'"),
        ("--encoder resnet10 --width 8 --weights {}/encoder.keras", "a network whose weight 2"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(
    options, message, module, pictures, finished, tmp_path, capsys
):
    line = options.format(finished[0])
    assert main(train, SMALL, pictures, line, "--run-dir", tmp_path / "run") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: --") and message in error
    assert list(tmp_path.iterdir()) == []
