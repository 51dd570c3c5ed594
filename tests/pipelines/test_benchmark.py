import argparse
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from cueco_tf import data
from cueco_tf.data.augment import TwoViews
from cueco_tf.settings.methods import METHODS
from pipelines import benchmark
from pipelines.benchmarking import bare_step, growth, tf_image_views
from pipelines.benchmarking.measuring import Comparison, alternate, text_table


def run(*arguments):
    return benchmark.main([str(argument) for argument in arguments])


def sides(path):
    """The sides of the only comparison in a result, checked against its own values."""
    result = json.loads(path.read_text())
    (comparison,) = result["comparisons"]
    first = next(iter(comparison["sides"].values()))["values"]
    for side in comparison["sides"].values():
        ratios = sorted(own / other for own, other in zip(side["values"], first, strict=True))
        assert len(ratios) % 2 == 1 and side["ratio"] == ratios[len(ratios) // 2]
        assert all(value > 0 for value in side["values"])
    return result, comparison["sides"]


def test_sides_are_measured_in_turn_and_the_order_turns_around(capsys):
    order = []

    def side(name, values):
        values = iter(values)
        return lambda: order.append(name) or next(values)

    measured = alternate(
        "work", "s", {"a": side("a", [1.0, 4.0, 2.0]), "b": side("b", [3.0, 4.0, 10.0])}, 3
    )
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert measured.ratios("b") == [3.0, 1.0, 5.0]
    assert measured.as_dict()["sides"]["b"] == {
        "median": 4.0,
        "ratio": 3.0,  # of the rounds, not of the medians
        "values": [3.0, 4.0, 10.0],
    }
    assert "round 2 of 3" in capsys.readouterr().out


def test_a_table_keeps_its_columns_in_line():
    rows = list(Comparison("work", "images/s", {"one": [1000.0], "another": [2500.0]}).rows())
    assert text_table(rows).splitlines() == [
        "work     images/s  ratio  least  most",
        "one         1,000      1      1     1",
        "another     2,500    2.5    2.5   2.5",
    ]


def test_inference_times_both_sides_in_turn(digits_export, tmp_path, capsys):
    out = tmp_path / "result.json"
    assert run("inference", digits_export, "--images", 64, "--rounds", 3, "--output", out) == 0
    result, both = sides(out)
    assert list(both) == ["TensorFlow", "ONNX Runtime"]
    assert result["facts"]["precision"] == "float32"
    assert result["facts"]["batch size in TensorFlow"] in (32, 64)
    assert result["machine"]["versions"]["tensorflow"]
    assert "ONNX Runtime" in capsys.readouterr().out


def test_clustering_is_measured_against_the_first_loss_alone(tmp_path):
    out = tmp_path / "result.json"
    small = ("--width", 1, "--batch-size", 2, "--steps", 1, "--queue-size", 8, "--clusters", 3)
    assert run("clustering", *small, "--rounds", 1, "--output", out) == 0
    result, both = sides(out)
    assert list(both) == ["first loss alone", "CueCo"]
    share = result["facts"]["share of the clustering in a step"]
    assert share == pytest.approx(1 - both["CueCo"]["ratio"])


def test_every_method_is_measured_against_moco(tmp_path):
    out = tmp_path / "result.json"
    small = ("--width", 1, "--batch-size", 4, "--steps", 1, "--rounds", 1)
    assert run("methods", *small, "--output", out) == 0
    names = list(sides(out)[1])
    titles = [settings.title for settings in METHODS.values()]
    assert names[0] == "MoCo-v2" and sorted(names) == sorted([*titles, "MoCo-v2, one direction"])


def test_what_clustering_measures_holds_a_kmeans():
    options = argparse.Namespace(encoder="resnet10", width=1, batch_size=2, steps=3)
    model = bare_step.with_clusters(options, clusters=3, queue_size=8)
    before = model.clusters.centroids.numpy()
    bare_step.rate(model, bare_step.endless(bare_step.random_views(2)), 2, 2)
    # The third step's: shares of the queue's eight keys, which a moving average never has exactly.
    eighths = 8 * model.clusters.usage.numpy()
    np.testing.assert_allclose(eighths, np.round(eighths), atol=1e-5)
    assert np.abs(model.clusters.centroids.numpy() - before).max() > 1e-3


def test_views_are_made_three_ways(tmp_path):
    out = tmp_path / "result.json"
    small = ("--image-size", 8, "--batch-size", 4, "--steps", 1)
    assert run("views", *small, "--rounds", 1, "--output", out) == 0
    assert len(sides(out)[1]) == 3


def test_folders_are_read_by_all_sides(tmp_path):
    out = tmp_path / "result.json"
    small = ("--files", 8, "--width", 50, "--height", 40, "--image-size", 16, "--steps", 1)
    assert run("folders", *small, "--batch-size", 4, "--rounds", 1, "--output", out) == 0
    result = json.loads(out.read_text())
    for comparison in result["comparisons"]:
        names = ["tf.image", "tf.image, antialias", "cueco_tf", "cueco_tf, kept"]
        assert list(comparison["sides"]) == names
    finished = comparison["sides"]["cueco_tf, kept"]["median"] / result["machine"]["cores"]
    own = result["facts"]["images/s and core, cueco_tf, kept, finished"]
    assert own == pytest.approx(finished)


def test_views_of_tf_image_are_those_of_the_same_draws(tmp_path, cifar):
    """But for colours, whose changes are of other formulas."""
    for i in range(4):
        Image.fromarray(cifar.train.images[i]).resize((90, 60)).save(tmp_path / f"{i}.jpg")
    split = data.load(f"folder:{tmp_path}", image_size=32).train.take(np.zeros(1, int))
    recipe = TwoViews(jitter_probability=0, gray=0)
    (own, _), _ = next(iter(split.training_batches(1, recipe, 0, 0)))
    for antialias in (True, False):
        given = split.paths, recipe, 32, 1, True, antialias
        (theirs,) = next(iter(tf_image_views.batches(*given))).numpy()
        assert np.abs(own[0] - theirs[0]).mean() < 0.1 * own.numpy().std()


def test_help_needs_no_tensorflow():
    script = """
import sys
from pipelines import benchmark
try:
    benchmark.main(sys.argv[1:])
except SystemExit:
    pass
assert not {"tensorflow", "keras", "torch"} & set(sys.modules)
"""
    for command in ([], ["step"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *command, "--help"], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "PyTorch" in done.stdout


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["inference", "nowhere"], "nowhere is not an export"),
        (["training", "--dataset", "cifar"], "--dataset should be one of"),
        (
            ["clustering", "--clusters", "9", "--queue-size", "8"],
            "--clusters should be in [2, queue_size=8]",
        ),
        (["step", "--encoder", "resnet50"], "--encoder should be resnet10, resnet18 or resnet34"),
    ],
)
def test_wrong_input_is_refused(arguments, message, capsys):
    assert benchmark.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_numbers_below_one_are_refused(capsys):
    for arguments in (["views", "--steps", "0"], ["growth", "--queue-sizes", "4", "0"]):
        with pytest.raises(SystemExit) as stop:
            benchmark.main(arguments)
        assert stop.value.code == 2
        assert f"{arguments[1]} should be at least 1" in capsys.readouterr().err


@pytest.mark.slow
def test_the_memory_of_a_size_is_that_of_its_own_process():
    parents = bytearray(400 * 2**20)  # far more than what is measured
    parents[:: 2**12] = bytes([1]) * len(parents[:: 2**12])
    row = growth._alone((60_000, 3, 2))
    queue = 60_000 * 128 * 4 / 2**20
    assert queue < row["MiB"] < 12 * queue
    assert row["first k-means, s"] > 0 and row["re-seeding, ms"] > 0


def test_memory_for_many_files_is_that_of_a_process_of_its_own(tmp_path):
    output = tmp_path / "files.json"
    assert run("many-files", "--files", 3000, "--classes", 3, "--output", output) == 0
    facts = json.loads(output.read_text())["facts"]
    assert facts["all files: count"] == 3000 and facts["longest path, characters"] > 800
    assert 50 < facts["few files: peak memory, MiB"] < 2000


def test_files_that_cannot_be_read_or_written_are_named(digits_export, tmp_path, capsys):
    shutil.copytree(digits_export, tmp_path / "export")
    shutil.rmtree(tmp_path / "export" / "saved_model")
    measure = ["inference", str(digits_export), "--images", "4", "--rounds", "1", "--output"]
    for arguments, message in (
        (["inference", str(tmp_path / "export")], "saved_model"),
        ([*measure, str(tmp_path / "no" / "a.json")], "There is no folder"),
        ([*measure, str(tmp_path / "export")], "export"),
    ):
        assert benchmark.main(arguments) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert lines[-1].startswith("error: ") and message in lines[-1]
