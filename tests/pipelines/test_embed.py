"""The command line that embeds images, as its users run it: no TensorFlow in its process."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import module
from embed_inputs import COLUMNS, ROOT, STATES, names, read, run
from PIL import Image

import cueco_tf
from cueco_tf import evaluation
from cueco_tf.data import image_files
from cueco_tf.data.file_splits import FileSplit
from cueco_tf.data.scan import scan
from cueco_tf.embedding.embeddings_file import read_file
from cueco_tf.embedding.sources import ArrayFile, FileSource, open_source
from cueco_tf.export.reading import read_export


def test_an_array_gives_what_the_run_gives(digits_run, digits_export, array, digits, tmp_path):
    assert run(digits_export, array, "--output", tmp_path / "out.npz") == 0
    got = read(tmp_path / "out.npz")
    model = cueco_tf.load_run(digits_run).model
    expected = model.encoder.predict(digits.test.images, verbose=0)
    np.testing.assert_allclose(
        got["embeddings"], expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max()
    )
    np.testing.assert_array_equal(got["clusters"], model.assign(digits.test.images))
    assert [got[name].dtype.kind for name in COLUMNS] == ["U", "f", "i", "f"]
    assert got["embeddings"].dtype == np.float32 and got["clusters"].dtype == np.int64
    assert list(got["paths"][:2]) == [f"{array}#0", f"{array}#1"]
    assert names(tmp_path) == ["in", "out.npz"]


def test_a_data_set_by_name_scores_as_the_run_did(digits_run, digits_export, digits, tmp_path):
    embeddings = []
    for split in ("train", "test"):
        out = tmp_path / f"{split}.npz"
        assert run(digits_export, "digits", "--split", split, "--output", out) == 0
        embeddings.append(read(out)["embeddings"])
    score = evaluation.knn_accuracy(
        embeddings[0], digits.train.labels, embeddings[1], digits.test.labels
    )
    summary = json.loads((digits_run / "summary.json").read_text())
    assert score == pytest.approx(summary["knn_top1"], abs=0.001)


def test_image_files_of_the_encoders_size_equal_the_array(digits_export, array, digits, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, image in enumerate(digits.test.images[:70]):
        Image.fromarray(image).save(folder / f"{i:02d}.png")
    assert run(digits_export, folder, "--output", tmp_path / "files.npz") == 0
    assert run(digits_export, array, "--output", tmp_path / "array.npz") == 0
    files, whole = read(tmp_path / "files.npz"), read(tmp_path / "array.npz")
    for name in COLUMNS[1:]:
        np.testing.assert_allclose(files[name], whole[name][:70], rtol=1e-5)
    assert list(files["paths"]) == [str(folder / f"{i:02d}.png") for i in range(70)]


def test_files_give_the_pixels_of_the_runs_own_evaluation(photos):
    folder, readable, _ = photos
    found = scan(folder)
    assert [Path(path).name for path in found.paths] == readable
    split = FileSplit.of(found, None, 24)
    expected = np.concatenate(list(split.plain_batches(4).as_numpy_iterator()))
    source = FileSource(found.paths, 24, image_files.EVALUATION_CROP)
    images, kept, skipped = source.load(range(len(source)))
    assert len(kept) == len(readable) == 10 and skipped == []
    np.testing.assert_array_equal(images, expected)


def test_images_of_every_kind_look_as_a_person_sees_them(photos, cifar):
    folder, readable, _ = photos
    paths = {path.name: path for path in folder.rglob("*.*")}
    seen = {name: image_files.central_crop(paths[name], 48, 1.0).astype(int) for name in readable}

    def original(i, mode="RGB"):
        image = Image.fromarray(cifar.test.images[i]).resize((64, 48), Image.Resampling.BICUBIC)
        return np.asarray(image.convert(mode).convert("RGB"), int)[:, 8:56]

    for name, i, mode, tolerance in (
        ("a-plain.jpg", 0, "RGB", 12),
        ("b-gray.png", 1, "L", 0),
        ("c-palette.gif", 2, "RGB", 12),
        ("d-cmyk.jpg", 3, "RGB", 12),
        ("e-sixteen.png", 4, "L", 0),
        ("f-integer.tif", 4, "L", 0),
        ("g-animated.gif", 5, "RGB", 12),
        ("h-turned.png", 9, "RGB", 0),
    ):
        difference = np.abs(seen[name] - original(i, mode)).mean()
        assert difference <= tolerance, name
    assert seen["i-transparent.png"].min() == 255
    assert set(np.unique(seen["j-black-and-white.png"])) == {0, 255}


@pytest.mark.parametrize("threads", [1, 3])
def test_unreadable_images_are_listed_and_cost_no_order(photos, digits_export, tmp_path, threads):
    folder, readable, broken = photos
    out = tmp_path / "out.npz"
    arguments = (digits_export, folder, "--output", out, "--threads", threads)
    done = module("pipelines.embed", *arguments)
    assert done.returncode == 3, done.stderr
    assert f"Skipped 5 of 15 images: see {out}.skipped.csv" in done.stderr
    assert [Path(path).name for path in read(out)["paths"]] == readable
    lines = (tmp_path / "out.npz.skipped.csv").read_text().splitlines()
    assert lines[0] == "path,reason"
    assert [Path(line.split(",")[0]).name for line in lines[1:]] == broken
    for line, reason in zip(
        lines[1:],
        ("UnidentifiedImageError", "truncated", "180 megapixels", "floating-point", "empty"),
        strict=True,
    ):
        assert reason in line
    # Each row is that of its own image alone.
    (tmp_path / "one.txt").write_text(f"{folder / 'h-turned.png'}\n\n")
    assert run(digits_export, tmp_path / "one.txt", "--output", tmp_path / "one.npz") == 0
    row = readable.index("h-turned.png")
    np.testing.assert_allclose(
        read(tmp_path / "one.npz")["embeddings"][0], read(out)["embeddings"][row], rtol=1e-4
    )


def test_a_list_keeps_its_order_and_repetitions(photos, digits_export, tmp_path, monkeypatch):
    folder, _, _ = photos
    monkeypatch.chdir(tmp_path)
    listed = ["b-gray.png", "deep/d-cmyk.jpg", "b-gray.png", "gone.png", "a-plain.jpg"]
    listed = [os.path.relpath(folder / name) for name in listed]  # relative to the list's folder
    Path("list.txt").write_text("\n".join(listed))
    assert run(digits_export, "list.txt", "--output", "out.npz") == 3
    got = read(tmp_path / "out.npz")
    assert list(got["paths"]) == [name for name in listed if "gone" not in name]
    np.testing.assert_array_equal(got["embeddings"][0], got["embeddings"][2])
    assert "gone.png,FileNotFoundError" in (tmp_path / "out.npz.skipped.csv").read_text()


def test_parquet_holds_the_same(digits_export, array, tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for suffix in ("npz", "parquet"):
        assert run(digits_export, array, "--output", tmp_path / f"out.{suffix}") == 0
    table = parquet.read_table(tmp_path / "out.parquet")
    dim = read_export(digits_export).embedding_dim
    assert table.schema.field("embeddings").type == pa.list_(pa.float32(), dim)
    assert table.schema.names == COLUMNS + STATES
    expected = read(tmp_path / "out.npz")
    columns, origin = read_file(tmp_path / "out.parquet")
    for name in COLUMNS:
        np.testing.assert_array_equal(columns[name], expected[name])
    assert origin == read_file(tmp_path / "out.npz")[1]
    assert origin["sha256"] == read_export(digits_export).sha256


def test_a_list_may_have_any_line_ends_and_odd_names(tmp_path):
    content = "\ufeffa.png\r\nb\x0c\u2028.png\n\n c.png\n"
    (tmp_path / "list.txt").write_bytes(content.encode())
    source = open_source(str(tmp_path / "list.txt"), 16)
    names = ["a.png", "b\x0c\u2028.png", " c.png"]
    assert list(source.paths) == [f"{tmp_path}/{name}" for name in names]


def test_wrong_input_is_refused_in_one_line(digits_export, array, tmp_path, capsys):
    import shutil

    broken = tmp_path / "in" / "broken"
    shutil.copytree(digits_export, broken)
    with open(broken / "encoder.onnx", "r+b") as file:
        file.seek(1000)
        file.write(b"x")
    later = tmp_path / "in" / "later"
    shutil.copytree(digits_export, later)
    manifest = json.loads((later / "manifest.json").read_text())
    (later / "manifest.json").write_text(json.dumps({**manifest, "format_version": 99}))
    bare = tmp_path / "in" / "bare"
    bare.mkdir()
    (bare / "manifest.json").write_text('{"format_version": 1}')
    with open(tmp_path / "in" / "archive.npy", "wb") as file:
        np.savez(file, a=np.zeros(3))
    np.save(tmp_path / "in" / "large.npy", np.zeros((3, 32, 32, 3), np.uint8))
    np.save(tmp_path / "in" / "float.npy", np.zeros((3, 16, 16, 3), np.float32))
    np.save(tmp_path / "in" / "objects.npy", np.array([{}], object))
    (tmp_path / "in" / "nothing").mkdir()
    (tmp_path / "in" / "there.npz").write_text("mine")
    out, inside = tmp_path / "out.npz", tmp_path / "in"
    for arguments, message in (
        ((inside, array, "--output", out), "is not an export: it holds no manifest.json"),
        ((broken, array, "--output", out), "is not the file that its manifest describes"),
        ((later, array, "--output", out), "is of format 99, this version of cueco_tf reads 1"),
        (
            (digits_export, inside / "large.npy", "--output", out),
            r"of shape \(n, 16, 16, 3\), .* Received: uint8 of shape \(3, 32, 32, 3\)",
        ),
        ((digits_export, inside / "float.npy", "--output", out), "Received: float32 of shape"),
        ((digits_export, inside / "objects.npy", "--output", out), "is not an array that can"),
        ((digits_export, inside / "archive.npy", "--output", out), "is not an array that can"),
        ((bare, array, "--output", out), "is not the manifest of an export .*input"),
        ((digits_export, array, "--output", out, "--split", "test"), "--split is of a data set"),
        ((digits_export, inside / "nothing", "--output", out), "There is no image file in"),
        ((digits_export, inside / "gone", "--output", out), "There is no .*gone. Give a folder"),
        ((digits_export, "tfds:", "--output", out), "Unknown data set"),
        ((digits_export, array, "--output", tmp_path / "out.csv"), "should end in .npz or"),
        ((digits_export, array, "--output", tmp_path / "no" / "out.npz"), "There is no folder"),
        ((digits_export, array, "--output", inside / "there.npz"), "exists. Choose another"),
        ((digits_export, array, "--output", out, "--threads", 0), "--threads should be at least"),
        ((digits_export, array, "--output", out, "--copy-to", inside), "Choose a new folder"),
    ):
        assert run(*arguments) == 2
        printed = capsys.readouterr().err.strip().splitlines()
        assert len(printed) == 1 and re.search(message, printed[0]), printed
        assert names(tmp_path) == ["in"]
    assert (inside / "there.npz").read_text() == "mine"
    # Not one readable image is wrong input as well.
    (tmp_path / "in" / "nothing" / "a.png").write_bytes(b"")
    assert run(digits_export, inside / "nothing", "--output", out) == 2
    assert "Not one of 1 images could be read" in capsys.readouterr().err
    assert names(tmp_path) == ["in"]


def test_help_needs_nothing_heavy():
    script = """
import sys
from pipelines import embed, search
for command in (embed, search):
    try:
        command.main(["--help"])
    except SystemExit as stop:
        assert stop.code == 0
heavy = {"tensorflow", "keras", "onnxruntime", "PIL", "sklearn", "scipy"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    for text in ("Exit codes: 0 finished", "--copy-to", "FILE.skipped.csv", "contact sheet"):
        assert text in done.stdout


def test_an_array_file_reads_only_what_it_is_asked_for(array):
    source, whole = ArrayFile(array, 16), np.load(array)
    assert len(source) == 360
    for start, stop in ((0, 32), (100, 101), (350, 360)):
        images, kept, skipped = source.load(range(start, stop))
        np.testing.assert_array_equal(images, whole[start:stop])
        assert kept == list(range(start, stop)) and skipped == []


@pytest.mark.slow
def test_a_machine_without_tensorflow_embeds_and_searches(digits_export, photos, tmp_path):
    """In a virtual environment that holds what the page on deployment says, and nothing else."""
    import venv

    folder, readable, _ = photos
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    packages = re.search(
        r"pip install (onnxruntime numpy pillow tqdm filelock)",
        (ROOT / "docs" / "deploy.md").read_text(),
    )
    install = [python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt"]
    done = subprocess.run(
        [*install, *packages[1].split()], capture_output=True, text=True, timeout=300
    )
    if done.returncode:
        pytest.skip(f"pip could not install: {done.stderr.strip().splitlines()[-1]}")
    clean = {**os.environ, "PYTHONPATH": str(ROOT)}
    for package in ("tensorflow", "keras", "scipy", "sklearn"):
        find = [python, "-c", f"import importlib.util as u; assert not u.find_spec({package!r})"]
        subprocess.run(find, check=True)
    out = tmp_path / "out.npz"

    def command(name, *arguments):
        return subprocess.run(
            [python, "-m", name, *map(str, arguments)],
            capture_output=True,
            text=True,
            env=clean,
            cwd=tmp_path,
        )

    done = command("pipelines.embed", digits_export, folder, "--output", out)
    assert done.returncode == 3, done.stderr
    got = read(out)
    assert [Path(path).name for path in got["paths"]] == readable
    assert run(digits_export, folder, "--output", tmp_path / "here.npz") == 3
    np.testing.assert_allclose(
        got["embeddings"], read(tmp_path / "here.npz")["embeddings"], rtol=1e-5
    )
    done = command("pipelines.search", out, folder / "a-plain.jpg", "--top", "3")
    assert done.returncode == 0 and (tmp_path / "out-nearest.png").exists(), done.stderr
    done = command("pipelines.embed", digits_export, "cifar100", "--output", tmp_path / "no.npz")
    assert done.returncode == 2 and "needs TensorFlow, which is not installed" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_folder_says_what_is_taken_and_what_is_left(digits_export, photos, tmp_path, capsys):
    folder, _, _ = photos
    service = folder / ".ipynb_checkpoints"
    service.mkdir()
    (service / "a-plain.jpg").write_bytes((folder / "a-plain.jpg").read_bytes())
    (folder / "phone.NEF").write_bytes(b"nef")
    out = tmp_path / "out.npz"
    assert run(digits_export, folder, "--output", out) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"Images of {folder}: 15 (8 .png, 3 .jpg, 2 .")
    assert "hidden or service folders: 1 (.ipynb_checkpoints); 1 ." in lines[1]
    images = read_file(out)[1]["images"]
    assert images["taken"] == 15
    assert images["left"] == {"hidden or service folders": 1, ".nef": 1, ".txt": 1}


def test_a_file_of_an_earlier_version_is_read(digits_export, array, tmp_path):
    out, earlier = tmp_path / "out.npz", tmp_path / "earlier.npz"
    assert run(digits_export, array, "--output", out) == 0
    columns, origin = read_file(out)
    np.savez(earlier, **{**columns, "paths": columns["paths"].astype(str)})
    again, nothing = read_file(earlier)
    for name in COLUMNS:
        np.testing.assert_array_equal(again[name], columns[name])
    assert nothing == {} and origin["export"] == str(digits_export)
    np.savez(earlier, **{**columns, "paths": columns["paths"][1:].astype(str)})
    with pytest.raises(ValueError, match=r"is not a file of embeddings \(its arrays differ"):
        read_file(earlier)


def test_a_manifest_that_is_not_of_its_file_is_refused(digits_export, array, tmp_path, capsys):
    for name, changed, message in (
        ("size", {"input": {"image_size": 12}}, "takes images of 16 pixels and gives"),
        ("dim", {"embedding_dim": 7}, "by its manifest of 16 and 7. Export it again"),
        ("how", {"input": {"reading": {"gamma": 2}}}, "does not know: .*gamma"),
    ):
        copied = shutil.copytree(digits_export, tmp_path / name)
        manifest = json.loads((copied / "manifest.json").read_text())
        for key, value in changed.items():
            manifest[key] = manifest[key] | value if isinstance(value, dict) else value
        (copied / "manifest.json").write_text(json.dumps(manifest))
        assert run(copied, "digits", "--output", tmp_path / "out.npz") == 2
        assert re.search(message, capsys.readouterr().err)
