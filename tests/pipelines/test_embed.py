"""The command line that embeds images, as its users run it: no TensorFlow in its process."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import module
from PIL import Image

import cueco_tf
from cueco_tf import evaluation, storage
from cueco_tf.data import image_files
from cueco_tf.data.file_splits import FileSplit
from cueco_tf.data.reading import Reading
from cueco_tf.data.scan import find, scan
from cueco_tf.embedding import rows, work
from cueco_tf.embedding.embeddings_file import read_file
from cueco_tf.embedding.shards import identity
from cueco_tf.embedding.sources import ArrayFile, FileSource, open_source
from cueco_tf.export.reading import read_export
from pipelines import embed, search

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ["paths", "embeddings", "clusters", "similarities"]
STATES = ["sizes", "mtimes_ns", "hashes"]


def run(*arguments):
    """Embeds in this process; the exit code."""
    return embed.main([str(argument) for argument in arguments])


def read(path):
    with np.load(path, allow_pickle=False) as file:
        assert file.files == ["paths_utf8", *COLUMNS[1:], *STATES]
        paths = file["paths_utf8"].tobytes().decode().split("\0")
        return {"paths": np.array(paths), **{name: file[name] for name in COLUMNS[1:]}}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def array(tmp_path, digits):
    """The test digits as an .npy file."""
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "digits.npy", digits.test.images)
    return tmp_path / "in" / "digits.npy"


@pytest.fixture
def photos(tmp_path, cifar):
    """Real images in every shape that people have: `(folder, names in order, names unreadable)`."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    pictures = [
        Image.fromarray(image).resize((64, 48), Image.Resampling.BICUBIC)
        for image in cifar.test.images[:16]
    ]
    pictures[0].save(folder / "a-plain.jpg")
    pictures[1].convert("L").save(folder / "b-gray.png")
    pictures[2].convert("P", palette=Image.Palette.ADAPTIVE).save(folder / "c-palette.gif")
    pictures[3].convert("CMYK").save(folder / "deep" / "d-cmyk.jpg")
    gray = np.asarray(pictures[4].convert("L"))
    Image.fromarray(gray.astype(np.uint16) * 257).save(folder / "e-sixteen.png")
    Image.fromarray(gray.astype(np.int32) * 257).save(folder / "f-integer.tif")
    pictures[5].save(folder / "g-animated.gif", save_all=True, append_images=pictures[6:9])
    turned = pictures[9].transpose(Image.Transpose.ROTATE_90)
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned clockwise by who shows it
    turned.save(folder / "h-turned.png", exif=exif)
    clear = pictures[10].convert("RGBA")
    clear.putalpha(0)
    clear.save(folder / "i-transparent.png")
    pictures[11].convert("1").save(folder / "j-black-and-white.png")

    (folder / "k-broken.jpg").write_bytes(b"not an image")
    pictures[12].save(folder / "l-cut.png")
    (folder / "l-cut.png").write_bytes((folder / "l-cut.png").read_bytes()[:900])
    Image.new("1", (20_000, 20_000)).save(folder / "m-bomb.png")
    Image.fromarray(gray.astype(np.float32)).save(folder / "n-float.tif")
    (folder / "o-empty.png").write_bytes(b"")
    (folder / "notes.txt").write_text("no image")
    broken = ["k-broken.jpg", "l-cut.png", "m-bomb.png", "n-float.tif", "o-empty.png"]
    found = [Path(path).name for path in find(folder).paths]
    return folder, [name for name in found if name not in broken], broken


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


def test_clusters_as_folders(digits_export, photos, array, tmp_path):
    folder, readable, _ = photos
    (folder / "deep" / "a-plain.jpg").write_bytes((folder / "a-plain.jpg").read_bytes())
    out, copies = tmp_path / "out.npz", tmp_path / "copies"
    assert run(digits_export, folder, "--output", out, "--copy-to", copies) == 3
    got = read(out)
    for path, cluster in zip(got["paths"], got["clusters"], strict=True):
        content = Path(path).read_bytes()
        assert content in [each.read_bytes() for each in (copies / str(cluster)).iterdir()]
    assert len(list(copies.rglob("*.*"))) == len(got["paths"]) == len(readable) + 1

    other = tmp_path / "other"
    arguments = (digits_export, array, "--output", tmp_path / "array.npz", "--copy-to", other)
    assert run(*arguments) == 0
    got = read(tmp_path / "array.npz")
    with Image.open(other / str(got["clusters"][5]) / "00000005.png") as image:
        np.testing.assert_array_equal(np.asarray(image), np.load(array)[5])
    assert len(list(other.rglob("*.png"))) == 360
    # What is there already is never touched.
    (tmp_path / "array.npz").unlink()
    assert run(*arguments, "--overwrite") == 2
    assert len(list(other.rglob("*.png"))) == 360 and not (tmp_path / "array.npz").exists()


@pytest.fixture
def few(tmp_path, digits):
    """A list of three image files of one picture, whose names collide when they are copied."""
    paths = [tmp_path / "few" / name for name in ("d0/a-2.png", "d1/a.png", "d2/a.png")]
    for path in paths:
        path.parent.mkdir(parents=True)
        Image.fromarray(digits.test.images[0]).save(path)
    (tmp_path / "few" / "list.txt").write_text("\n".join(map(str, paths)))
    return tmp_path / "few" / "list.txt"


def test_copies_never_replace_one_another(digits_export, few, tmp_path):
    out, copies = tmp_path / "out.npz", tmp_path / "copies"
    assert run(digits_export, few, "--output", out, "--copy-to", copies) == 0
    found = sorted(path.name for path in copies.rglob("*.png"))
    assert found == ["a-2-2.png", "a-2.png", "a.png"]


def test_a_failed_copy_keeps_the_embeddings(digits_export, few, tmp_path, monkeypatch, capsys):
    out, copies = tmp_path / "out.npz", tmp_path / "copies"
    arguments = (digits_export, few, "--output", out, "--copy-to", copies)
    assert run(*arguments[:5], tmp_path / "no" / "copies") == 2
    assert "There is no folder" in capsys.readouterr().err and names(tmp_path) == ["few"]

    def full(*paths):
        raise OSError(28, "No space left on device")

    def stopped(*paths):
        raise KeyboardInterrupt

    for place, failure, code, message in (
        (
            "cueco_tf.embedding.copies.shutil.copyfile",
            full,
            2,
            f"{copies} was not written: No space left",
        ),
        ("cueco_tf.embedding.copies.shutil.copyfile", stopped, 130, "stopped"),
        ("cueco_tf.embedding.work.write_file", stopped, 130, "stopped"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, failure)
            assert run(*arguments) == code
        assert message in capsys.readouterr().err.splitlines()[-1]
        assert names(tmp_path) == [".out.npz.part", "few"]
    assert run(*arguments) == 0
    assert "Going on after 3 of 3 images" in capsys.readouterr().out
    assert len(list(copies.rglob("*.png"))) == 3 and names(tmp_path) == ["copies", "few", "out.npz"]


def test_an_image_that_goes_away_before_it_is_copied(
    digits_export, few, tmp_path, monkeypatch, capsys
):
    embed_all = rows._embed

    def embed_and_lose(*arguments):
        embed_all(*arguments)
        (tmp_path / "few" / "d1" / "a.png").unlink()

    monkeypatch.setattr(rows, "_embed", embed_and_lose)
    out, copies = tmp_path / "out.npz", tmp_path / "copies"
    assert run(digits_export, few, "--output", out, "--copy-to", copies) == 2
    assert "a.png cannot be copied any more: FileNotFound" in capsys.readouterr().err
    assert not out.exists() and not copies.exists()


def test_a_failed_replacement_leaves_the_old_output_and_its_list(
    digits_export, few, tmp_path, monkeypatch
):
    (tmp_path / "few" / "d1" / "a.png").write_bytes(b"broken")
    out = tmp_path / "out.npz"
    assert run(digits_export, few, "--output", out) == 3
    before = {path: path.read_bytes() for path in tmp_path.glob("out*")}

    def full(*arguments):
        raise OSError(28, "No space left on device")

    (tmp_path / "few" / "d2" / "a.png").write_bytes(b"broken")
    with monkeypatch.context() as patch:
        patch.setattr("cueco_tf.embedding.work.write_file", full)
        assert run(digits_export, few, "--output", out, "--overwrite") == 2
    assert len(before) == 2
    assert {path: path.read_bytes() for path in tmp_path.glob("*out*")} == before


def test_a_list_may_have_any_line_ends_and_odd_names(tmp_path):
    content = "\ufeffa.png\r\nb\x0c\u2028.png\n\n c.png\n"
    (tmp_path / "list.txt").write_bytes(content.encode())
    source = open_source(str(tmp_path / "list.txt"), 16)
    names = ["a.png", "b\x0c\u2028.png", " c.png"]
    assert list(source.paths) == [f"{tmp_path}/{name}" for name in names]


@pytest.fixture
def long_array(tmp_path, digits):
    """Enough images for some seconds of work."""
    np.save(tmp_path / "long.npy", np.tile(digits.train.images, (16, 1, 1, 1)))
    return tmp_path / "long.npy"


def start_and_kill(command, note, number):
    """Starts a command and sends a signal once some of its work is noted; what is noted then."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not note.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(number)
    process.communicate()
    return process.returncode, json.loads(note.read_text())["done"]


def test_a_killed_process_goes_on_to_the_same_bytes(digits_export, photos, tmp_path):
    folder, readable, broken = photos
    found = list(find(folder).paths)
    (tmp_path / "list.txt").write_text("\n".join(found * 400))
    total, out = 400 * len(found), tmp_path / "killed.npz"
    arguments = [digits_export, tmp_path / "list.txt", "--output", out]
    note = tmp_path / ".killed.npz.part" / "progress.json"
    command = [sys.executable, "-m", "pipelines.embed", *arguments]
    code, first = start_and_kill(command, note, signal.SIGKILL)
    assert code == -signal.SIGKILL and not out.exists()
    assert 0 < first < total
    # Rows and names that were written but not noted are dropped, not doubled.
    for name in ("rows", "skipped"):
        with open(note.with_name(name), "ab") as file:
            file.write(b"half a line")
    done = module("pipelines.embed", *arguments)
    assert done.returncode == 3, done.stderr
    assert f"Going on after {first:,} of {total:,} images" in done.stdout
    assert len(read(out)["paths"]) == 400 * len(readable)
    side_file = tmp_path / "killed.npz.skipped.csv"
    assert len(side_file.read_text().splitlines()) == 1 + 400 * len(broken)
    undisturbed = tmp_path / "undisturbed.npz"
    assert run(*arguments[:3], undisturbed) == 3
    assert out.read_bytes() == undisturbed.read_bytes()
    assert side_file.read_bytes() == (tmp_path / "undisturbed.npz.skipped.csv").read_bytes()
    assert not note.parent.exists()


def test_a_stopped_process_says_so_and_another_source_begins_anew(
    digits_export, long_array, array, tmp_path, capsys
):
    out = tmp_path / "out.npz"
    command = [sys.executable, "-m", "pipelines.embed", digits_export, long_array, "--output", out]
    note = tmp_path / ".out.npz.part" / "progress.json"
    code, first = start_and_kill(command, note, signal.SIGINT)
    assert code == 130 and first > 0 and not out.exists()
    assert run(digits_export, array, "--output", out) == 0
    assert "Going on" not in capsys.readouterr().out
    assert len(read(out)["paths"]) == 360


def test_rows_that_are_gone_are_made_again(tmp_path):
    from cueco_tf.embedding.part_file import PartFile

    def begin(job):
        part = PartFile(tmp_path / "out.npz", 2, job)
        part.close()
        return part.done

    part = PartFile(tmp_path / "out.npz", 2, "a")
    block = np.ones(3, part.dtype)
    block["index"] = 0, 1, 3
    part.append(4, block, [("b.png", "broken")])
    part.flush()
    part.close()
    assert begin("a") == 4
    rows = tmp_path / ".out.npz.part" / "rows"
    rows.write_bytes(rows.read_bytes()[:-1])
    assert begin("a") == 0
    part = PartFile(tmp_path / "out.npz", 2, "a")
    part.append(4, block, [])
    part.flush()
    part.close()
    assert begin("b") == 0  # another job
    for note in ("{}", "[]", '{"rows": null}'):
        (tmp_path / ".out.npz.part" / "progress.json").write_text(note)
        assert begin("b") == 0


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


@pytest.mark.parametrize("limit", [30_000, 120_000], ids=["rows", "result"])
def test_a_full_disk_leaves_nothing(digits_export, array, tmp_path, limit):
    script = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
from pipelines import embed
sys.exit(embed.main(sys.argv[1:]))
"""
    command = [sys.executable, "-c", script, digits_export, array, "--output", tmp_path / "out.npz"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"error: {tmp_path / 'out.npz'} was not written")
    assert names(tmp_path) == ["in"]


def test_a_disk_that_is_too_small_is_known_before_any_work(
    digits_export, array, tmp_path, monkeypatch, capsys
):
    import collections

    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda path: usage(100_000, 0, 100_000))
    assert run(digits_export, array, "--output", tmp_path / "out.npz") == 2
    assert "no space: this needs 0." in capsys.readouterr().err
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
def test_memory_stays_bounded_at_200_000_rows(digits_export, digits, tmp_path):
    script = """
import resource, sys
from pipelines import embed
assert embed.main(sys.argv[1:]) == 0
assert "tensorflow" not in sys.modules
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
    peaks = []
    for count in (2_000, 200_000):
        path = tmp_path / f"{count}.npy"
        shape = (count, 16, 16, 3)
        array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        for begin in range(0, count, 1000):
            array[begin : begin + 1000] = digits.train.images[:1000]
        array.flush()
        out = tmp_path / f"{count}.npz"
        done = subprocess.run(
            [sys.executable, "-c", script, digits_export, path, "--output", out],
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout.split()[-1]))
    got = read(tmp_path / "200000.npz")
    assert len(got["paths"]) == len(np.unique(got["paths"])) == 200_000
    np.testing.assert_allclose(got["embeddings"][-1000:], got["embeddings"][:1000], atol=1e-4)
    # The images alone are 154 MB, their embeddings 102 MB.
    assert peaks[1] - peaks[0] < 60, peaks


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


def test_one_long_path_costs_its_own_length(digits_export, digits, tmp_path):
    deep = tmp_path.joinpath(*("x" * 200 for _ in range(5)), "0.png")
    deep.parent.mkdir(parents=True)
    plain = tmp_path / "0.png"
    for path in (plain, deep):
        Image.fromarray(digits.test.images[0]).save(path)
    sizes = {}
    for name, last in (("short", plain), ("long", deep)):
        listed = [str(plain)] * 100 + [str(last)]
        (tmp_path / f"{name}.txt").write_text("\n".join(listed))
        out = tmp_path / f"{name}.npz"
        assert run(digits_export, tmp_path / f"{name}.txt", "--output", out) == 0
        assert list(read_file(out)[0]["paths"]) == list(read(out)["paths"]) == listed
        sizes[name] = out.stat().st_size
    assert sizes["long"] - sizes["short"] == len(str(deep)) - len(str(plain))


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


@pytest.fixture
def twelve_bits(tmp_path, digits):
    """Digits in 12 bits, in files of 16, and the same in 8."""
    folders = tmp_path / "twelve", tmp_path / "eight"
    for folder in folders:
        folder.mkdir()
    for i, image in enumerate(digits.test.images[:20, ..., 0]):
        deep = np.round(image.astype(float) * 4095 / 255).astype(np.uint16)
        Image.fromarray(deep).save(folders[0] / f"{i:02}.png")
        Image.fromarray(image).save(folders[1] / f"{i:02}.png")
    return folders


def test_a_told_range_is_the_exports_own_and_can_be_given(
    digits_export, twelve_bits, tmp_path, capsys
):
    twelve, eight = twelve_bits
    told = tmp_path / "told"
    shutil.copytree(digits_export, told)
    manifest = json.loads((told / "manifest.json").read_text())
    former = {"pixel_range": None, "max_megapixels": 180.0}  # exports that say no more are read
    assert manifest["input"]["reading"] == {**former, "channels": 3, "depth": 8}
    manifest["input"]["reading"] = {**former, "pixel_range": [0, 4095]}
    (told / "manifest.json").write_text(json.dumps(manifest))
    rows = {}
    for name, arguments in (
        ("eight", (digits_export, eight)),
        ("black", (digits_export, twelve)),
        ("told", (told, twelve)),
        ("given", (digits_export, twelve, "--pixel-range", 0, 4095)),
    ):
        assert run(*arguments, "--output", tmp_path / f"{name}.npz") == 0
        warned = "20 images of 16 bits in the source use pixels from 0 to 4,095"
        assert (warned in capsys.readouterr().err) == (name == "black")
        rows[name] = read(tmp_path / f"{name}.npz")["embeddings"]
    np.testing.assert_allclose(rows["told"], rows["eight"], rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(rows["told"], rows["given"])
    assert np.abs(rows["black"] - rows["eight"]).max() > 0.1
    # A search reads its query as the rows were read.
    query = tmp_path / "query.png"
    query.write_bytes((twelve / "07.png").read_bytes())
    assert search.main([str(tmp_path / "given.npz"), str(query), "--top", "1"]) == 0
    assert "1.0000" in capsys.readouterr().out and read_file(tmp_path / "given.npz")[1]["reading"]
    for bad in (("--pixel-range", 5, 5), ("--max-megapixels", 0)):
        assert run(digits_export, twelve, "--output", tmp_path / "bad.npz", *bad) == 2
        assert f"error: {bad[0]} should be" in capsys.readouterr().err


def test_rows_of_an_array_are_known_by_what_their_pixels_are_taken_for(tmp_path):
    path = tmp_path / "deep.npy"
    np.save(path, np.arange(4 * 8 * 8 * 3, dtype=np.uint16).reshape(4, 8, 8, 3))
    known = []
    for pixel_range in ((0, 4095), (0, 65_535)):
        source = open_source(str(path), 8, reading=Reading(pixel_range, channels=3, depth=16))
        assert source.reading.pixel_range == pixel_range
        cut = source.cut(1, 3)
        known.append((source.fingerprint(), cut.fingerprint(), str(identity("0", source))))
        assert cut.load([0])[0].max() == pytest.approx(255 * 383 / pixel_range[1])
    assert not set(known[0]) & set(known[1])
    np.save(path, np.zeros((4, 8, 8, 3), np.uint8))
    assert open_source(str(path), 8).reading is None


def test_an_image_without_finite_numbers_is_skipped(digits_export, array, tmp_path):
    export = read_export(digits_export)
    encoder = export.encoder()

    class Overflowing:
        batch_size, threads = encoder.batch_size, 1

        def __call__(self, images):
            found = encoder(images)
            for place, number in ((1, np.nan), (4, np.inf)):
                found.embeddings[place, 3] = number
            return found

    source, out = open_source(str(array), export.image_size), tmp_path / "out.npz"
    done = work.embed(export, Overflowing(), source, out, threads=1)
    count = 2 * -(-len(source) // encoder.batch_size)
    assert (done.rows, done.skipped) == (len(source) - count, count)
    assert np.isfinite(read(out)["embeddings"]).all()
    listed = (tmp_path / "out.npz.skipped.csv").read_text()
    assert f"{array}#1,the encoder gives no finite numbers for it" in listed


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


def test_the_limit_of_pixels_can_be_raised(digits_export, tmp_path, capsys):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "large.png")
    (tmp_path / "list.txt").write_text(str(tmp_path / "large.png"))
    arguments = (digits_export, tmp_path / "list.txt", "--output", tmp_path / "out.npz")
    assert run(*arguments) == 2
    assert "more than 180 megapixels, the limit of --max-megapixels" in capsys.readouterr().err
    assert run(*arguments, "--max-megapixels", 400) == 0
