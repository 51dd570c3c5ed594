"""Exports as their users make and open them: on real images, in processes of their own."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import module

import cueco_tf
from cueco_tf.evaluation.table import SCORES
from pipelines import export

FILES = {"encoder.onnx", "encoder.keras", "manifest.json", "README.md"}


def python(script, *arguments, **options):
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


def one_line(text):
    """The last line, which alone is ours: TensorFlow writes lines of its own before it."""
    return text.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def trained(digits_run, digits):
    """What the run itself gives for the test images: h, clusters, and cosines to all of them."""
    run = cueco_tf.load_run(digits_run)
    model, images = run.model, digits.test.images
    z = model.predict(images, verbose=0)
    return (
        model.encoder.predict(images, verbose=0),
        model.assign(images),
        z @ run.clusters.directions.T,
    )


def assert_equal(outputs, trained, least=None):
    h, clusters, cosines = trained
    np.testing.assert_allclose(outputs["embedding"], h, rtol=1e-4, atol=1e-4 * np.abs(h).max())
    np.testing.assert_array_equal(outputs["cluster"], clusters)
    np.testing.assert_allclose(outputs["cluster_similarity"], cosines.max(axis=1), atol=1e-5)


def test_an_export_holds_all_that_it_promises(digits_export, digits_run):
    assert FILES | {"saved_model"} == {path.name for path in digits_export.iterdir()}
    manifest = manifest_of(digits_export)
    paths = {str(p.relative_to(digits_export)) for p in digits_export.rglob("*") if p.is_file()}
    assert set(manifest["files"]) == paths - {"manifest.json"}
    for name, known in manifest["files"].items():
        content = (digits_export / name).read_bytes()
        assert known == {
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }, name
    summary = json.loads((digits_run / "summary.json").read_text())
    assert manifest["scores"] == {"summary": summary, "evaluation": None}
    assert manifest["run"]["config"] == json.loads((digits_run / "config.json").read_text())
    width = manifest["run"]["config"]["width"]
    assert manifest["embedding_dim"] == 8 * width
    assert (manifest["clusters"], manifest["opset"]) == (10, 17)
    assert manifest["clusters_trained"] is True and manifest["price"] is None
    for package in ("tensorflow", "keras", "onnx", "onnxruntime", "tf2onnx", "numpy"):
        assert manifest["versions"][package] == __import__(package).__version__
    for name in ("encoder.keras", "saved_model", "encoder.onnx"):
        assert 0 <= manifest["parity"][name]["embedding_difference"] <= 1e-4
        assert name in manifest["how_to_load"]
    card = (digits_export / "README.md").read_text()
    assert f"| {SCORES['knn_top1']} | {100 * summary['knn_top1']:.1f} |" in card
    assert "uint8 (n, 16, 16, 3)" in card and f"float32 (n, {8 * width})" in card


def test_onnx_equals_the_trained_model_for_any_number_of_images(digits_export, trained, digits):
    session = onnxruntime.InferenceSession(digits_export / "encoder.onnx")
    assert [value.name for value in session.get_inputs()] == ["images"]
    names = [value.name for value in session.get_outputs()]
    assert names == ["embedding", "cluster", "cluster_similarity"]
    for count in (360, 1, 7):
        outputs = session.run(None, {"images": digits.test.images[:count]})
        assert [value.dtype.name for value in outputs] == ["float32", "int64", "float32"]
        part = tuple(value[:count] for value in trained)
        assert_equal(dict(zip(names, outputs, strict=True)), part)


@pytest.mark.parametrize(
    "load",
    [
        "import keras; outputs = keras.models.load_model(folder + '/encoder.keras')(images)",
        "import tensorflow as tf; outputs = tf.saved_model.load(folder + '/saved_model')"
        ".signatures['serving_default'](images=tf.constant(images))",
        "import tensorflow as tf; model = tf.saved_model.load(folder + '/saved_model'); "
        "outputs = model.serve(images)",
    ],
    ids=["keras", "signature", "saved_model"],
)
def test_plain_keras_and_tensorflow_open_it(load, digits_export, trained, digits, tmp_path):
    np.save(tmp_path / "images.npy", digits.test.images)
    script = f"""
import sys, numpy as np
folder, images = sys.argv[1], np.load("images.npy")
{load}
assert "cueco_tf" not in sys.modules
np.savez("outputs.npz", **{{name: np.asarray(value) for name, value in outputs.items()}})
"""
    done = python(script, digits_export, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_equal(np.load(tmp_path / "outputs.npz"), trained)


def test_the_graph_is_valid_folded_and_in_canonical_names(digits_export):
    model = onnx.load(digits_export / "encoder.onnx")
    onnx.checker.check_model(model, full_check=True)
    kinds = [node.op_type for node in model.graph.node]
    assert "BatchNormalization" not in kinds
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 12 and all(len(node.input) == 3 for node in convolutions)
    # Beside the residual sums and the scaling, nothing is left of the normalisation.
    assert kinds.count("Add") == 4 + 1 + 2
    assert [node.name for node in convolutions] == [f"Conv_{i}" for i in range(12)]
    assert model.producer_name == "cueco_tf"


def test_two_processes_export_the_same_bytes(digits_run, digits_export, tmp_path):
    done = module("pipelines.export", digits_run, "--output", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    for name in ("encoder.onnx", "encoder.keras"):
        assert (tmp_path / "again" / name).read_bytes() == (digits_export / name).read_bytes()


def test_two_processes_reduce_to_the_same_bytes(digits_export, digits, tmp_path):
    np.save(tmp_path / "images.npy", digits.train.images[:128])
    script = """
import sys, hashlib, numpy as np, onnx
from cueco_tf.export import onnx_graph, onnx_precision
model = onnx.load(sys.argv[1])
for precision in ("float16", "int8"):
    reduced = onnx_precision.reduce(model, precision, np.load("images.npy"))
    print(precision, hashlib.sha256(onnx_graph.serialize(reduced)).hexdigest())
"""
    printed = [
        python(script, digits_export / "encoder.onnx", cwd=tmp_path).stdout for _ in range(2)
    ]
    assert printed[0] == printed[1] and printed[0].count("\n") == 2


@pytest.mark.parametrize("precision, ratio", [("float16", 0.6), ("int8", 0.5)])
def test_a_lower_precision_has_its_price_measured(
    precision, ratio, digits_run, digits_export, digits, tmp_path
):
    out = tmp_path / precision
    assert export.main([str(digits_run), "--output", str(out), "--precision", precision]) == 0
    price, card = manifest_of(out)["price"], (out / "README.md").read_text()
    outputs = {
        name: onnxruntime.InferenceSession(folder / "encoder.onnx").run(
            None, {"images": digits.test.images}
        )
        for name, folder in (("float32", digits_export), ("reduced", out))
    }
    assert outputs["reduced"][0].dtype == np.float32
    rows = [h / np.linalg.norm(h, axis=1, keepdims=True) for h, _, _ in outputs.values()]
    cosine = np.sum(rows[0] * rows[1], axis=1)
    assert price["cosine_mean"] == pytest.approx(cosine.mean(), abs=1e-6) and cosine.mean() > 0.995
    same = np.mean(outputs["float32"][1] == outputs["reduced"][1])
    assert price["same_cluster"] == pytest.approx(same)
    assert price["bytes"]["reduced"] == (out / "encoder.onnx").stat().st_size
    assert price["bytes"]["reduced"] < ratio * price["bytes"]["float32"]
    summary = manifest_of(out)["scores"]["summary"]
    # On the digits the sample is the whole set, so this is the run's own score.
    assert price["knn_top1"]["float32"] == pytest.approx(summary["knn_top1"], abs=0.003)
    assert price["images_per_second"].keys() == {"float32", "reduced"}
    assert f"What {precision} costs" in card and "before `encoder.onnx` was reduced" in card
    onnx.checker.check_model(onnx.load(out / "encoder.onnx"), full_check=True)


def test_a_costly_precision_and_clusters_that_never_started_are_warned_about(digits_export, capsys):
    from cueco_tf.export.checks import warnings
    from cueco_tf.export.model_card import model_card

    manifest = manifest_of(digits_export)
    assert warnings(manifest) == manifest["warnings"] == []
    manifest |= {"precision": "int8", "clusters_trained": False}
    manifest["price"] = {
        "knn_top1": {"float32": 0.900, "reduced": 0.894},
        "images_per_second": {"float32": 1.0, "reduced": 2.0},
        "bytes": {"float32": 4, "reduced": 1},
        "cosine_mean": 0.9,
        "cosine_least": 0.8,
        "same_cluster": 0.7,
    }
    loss, clusters = manifest["warnings"] = warnings(manifest)
    assert "int8 loses 0.6 points of k-NN" in loss and "clusters of this run never" in clusters
    assert f"**{loss}**" in model_card(manifest) and f"**{clusters}**" in model_card(manifest)
    export._report(manifest, "out")
    assert f"warning: {loss}" in capsys.readouterr().err
    manifest["price"]["knn_top1"]["reduced"] = 0.896
    assert warnings(manifest) == [clusters]


def test_files_that_disagree_are_an_error(digits_export, digits_run, digits, tmp_path):
    import shutil

    from onnx import numpy_helper

    from cueco_tf.export import checks as export_checks
    from cueco_tf.export import writing as exporting

    folder = tmp_path / "tampered"
    shutil.copytree(digits_export, folder)
    run = cueco_tf.load_run(digits_run)
    network = exporting.serving_network(run.model, run.clusters.directions)
    images = digits.test.images[:100]
    assert export_checks.parity(folder, network, images)["images"] == 100
    model = onnx.load(folder / "encoder.onnx")
    kernel = model.graph.initializer[2]
    array = numpy_helper.to_array(kernel) * 1.01
    kernel.CopyFrom(numpy_helper.from_array(array.astype(np.float32), kernel.name))
    onnx.save(model, folder / "encoder.onnx")
    with pytest.raises(export_checks.ParityError, match=r"encoder\.onnx does not compute"):
        export_checks.parity(folder, network, images)


def test_a_failed_check_leaves_nothing(digits_run, tmp_path, monkeypatch, capsys):
    from cueco_tf.export import checks as export_checks

    monkeypatch.setattr(export_checks, "TOLERANCE", 0.0)
    assert export.main([str(digits_run), "--output", str(tmp_path / "out")]) == 1
    assert "does not compute what the trained network does" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(digits_run, tmp_path):
    script = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
from pipelines import export
sys.exit(export.main(sys.argv[1:]))
"""
    done = python(script, digits_run, "--output", tmp_path / "out")
    assert done.returncode == 2, done.stderr
    assert one_line(done.stderr).startswith(f"error: {tmp_path / 'out'} was not written")
    assert list(tmp_path.iterdir()) == []


def test_wrong_input_is_refused_in_one_line_before_tensorflow_is_there(
    digits_run, digits_export, tmp_path
):
    import shutil

    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "photo").write_text("mine")
    unfinished = tmp_path / "unfinished"
    shutil.copytree(digits_run, unfinished)
    (unfinished / "summary.json").unlink()
    cases = [
        ([tmp_path / "nowhere"], "is not a run folder"),
        ([tmp_path / "empty"], "is not a run folder"),
        ([unfinished], "is not finished. Finish it first: python -m cueco_tf.train --run-dir"),
        ([digits_run, "--output", digits_export], "exists. Choose another --output, or add"),
        ([digits_run, "--output", tmp_path / "full"], "exists. Choose another --output"),
        ([digits_run, "--output", tmp_path / "full", "--overwrite"], "is not an export"),
    ]
    script = f"""
import sys
from pipelines import export
for arguments in {[list(map(str, arguments)) for arguments, _ in cases]!r}:
    assert export.main(arguments) == 2
assert "tensorflow" not in sys.modules
"""
    done = python(script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    for line, (_, message) in zip(lines, cases, strict=True):
        assert line.startswith("error: ") and message in line
    assert (tmp_path / "full" / "photo").read_text() == "mine"


def test_a_data_set_that_is_gone_is_named(digits_run, tmp_path, capsys):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(digits_run, run)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "dataset": "folder:gone"}))
    assert export.main([str(run), "--output", str(tmp_path / "out")]) == 2
    assert "There is no folder gone" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_run_with_images_held_out_is_exported_on_its_own_images(tmp_path):
    run, out = tmp_path / "run", tmp_path / "out"
    options = ["--dataset", "digits", "--width", "4", "--epochs", "1", "--holdout", "0.2"]
    done = module("cueco_tf.train", *options, "--run-dir", run)
    assert done.returncode == 0, done.stderr
    done = module("pipelines.export", run, "--output", out, "--precision", "float16")
    assert done.returncode == 0, done.stderr
    manifest, card = manifest_of(out), (out / "README.md").read_text()
    # The sample is the whole of both splits, so this is the run's own score on the held-out images.
    own = manifest["scores"]["summary"]["knn_top1"]
    assert manifest["price"]["knn_top1"]["float32"] == pytest.approx(own, abs=1e-6)
    assert manifest["parity"]["images"] == 287
    assert "of the run, on held-out training images" in card and "its test images" not in card


def test_overwriting_replaces_the_whole_export_and_takes_new_scores_along(
    digits_run, digits_export, tmp_path
):
    import shutil

    run, out = tmp_path / "run", tmp_path / "out"
    shutil.copytree(digits_run, run)
    (run / "evaluation.json").write_text('{"knn_top1": 0.5}')
    shutil.copytree(digits_export, out)
    (out / "encoder.onnx").write_text("old")
    (out / "left-over").write_text("old")
    assert export.main([str(run), "--output", str(out), "--overwrite"]) == 0
    assert not (out / "left-over").exists()
    assert (out / "encoder.onnx").read_bytes() == (digits_export / "encoder.onnx").read_bytes()
    assert manifest_of(out)["scores"]["evaluation"] == {"knn_top1": 0.5}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mixed_float16", "strategy"])
def test_runs_in_mixed_precision_or_under_a_strategy_are_exported(kind, tmp_path, digits):
    script = """
import contextlib, pathlib, sys
import cueco_tf, keras, numpy as np, tensorflow as tf
from cueco_tf.methods import building
from cueco_tf.parts import batch_norm as encoders
from cueco_tf.running import checkpoints
from cueco_tf.settings.run import RunConfig
from cueco_tf.running.run_folder import RunFolder

scope = contextlib.nullcontext()
if sys.argv[1] == "strategy":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    scope = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope()
precision = "float32" if sys.argv[1] == "strategy" else sys.argv[1]
images = np.load("images.npy")
config = RunConfig.for_dataset(
    "digits", width=16, epochs=1, queue_size=16, warmup_epochs=0, precision=precision
).resolve(1437, 16, 10).on_devices(0)  # the digits, of which it sees a few
folder = RunFolder(pathlib.Path("run"))
folder.create(config)
with scope:
    model = building.build_model(config)
model.fit(images, batch_size=16, epochs=1, verbose=0)
checkpoints.save(folder.checkpoints, model)
folder.write_summary({"knn_top1": None})
np.save("expected.npy", encoders.to_stock_layers(model.encoder)(images))
"""
    np.save(tmp_path / "images.npy", digits.train.images[:64])
    done = python(script, kind, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = module("pipelines.export", "run", "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    session = onnxruntime.InferenceSession(tmp_path / "out" / "encoder.onnx")
    (embedding,) = session.run(["embedding"], {"images": digits.train.images[:64]})
    expected = np.load(tmp_path / "expected.npy")
    np.testing.assert_allclose(embedding, expected, rtol=1e-4, atol=1e-4 * expected.max())
    floats = {t.data_type for t in onnx.load(tmp_path / "out" / "encoder.onnx").graph.initializer}
    assert onnx.TensorProto.FLOAT in floats and onnx.TensorProto.FLOAT16 not in floats
