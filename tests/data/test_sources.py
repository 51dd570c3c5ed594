"""Where pictures live: folders, lists, Parquet, tars and HEIC give the same images."""

import csv
import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import types
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cueco_tf import TwoViews, data, storage, train
from cueco_tf.data import parquet, remote, spool
from cueco_tf.data.columns import lay_out
from cueco_tf.data.listings import image_named
from cueco_tf.data.members import suffix
from cueco_tf.data.presence import MissingError, check_there
from cueco_tf.data.scan import find
from cueco_tf.data.splits import DataError
from cueco_tf.embedding.embeddings_file import read_file
from cueco_tf.running import checkpoints
from cueco_tf.settings.choices import dataset_named
from cueco_tf.settings.run import RunConfig
from pipelines import embed, evaluate
from pipelines.reporting.thumbnails import NamedPictures

CLASSES = ("maple, red", "oak", 'the "pine"')


def encoded(pixels, kind):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def pictures(cifar):
    """60 images of CIFAR-100 of three classes: `(class, name, bytes)` in the order of a folder."""
    chosen = [np.flatnonzero(cifar.train.labels == label)[:20] for label in (47, 52, 59)]
    made = []
    for title, rows in zip(CLASSES, chosen, strict=True):
        for i, row in enumerate(rows):
            kind = ("PNG", "JPEG")[i % 2]
            content = encoded(cifar.train.images[row], kind)
            made.append((title, f"{i:02d}.{kind.lower()}", content))
    return made


def write_folder(folder, pictures):
    for title, name, content in pictures:
        path = folder / title / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def write_list(file, folder, pictures):
    with open(file, "w", newline="", encoding="utf-8-sig") as opened:
        rows = csv.writer(opened)  # CRLF, quotes where they are needed
        rows.writerow(["label", "weight", " path"])
        rows.writerows((title, 1, folder / title / name) for title, name, _ in pictures)


def write_parquet(file, pictures, labels=None, group=7):
    """As Hugging Face writes images: a struct of bytes and path, class numbers and their names."""
    images = [{"bytes": content, "path": name} for _, name, content in pictures]
    numbers = [CLASSES.index(title) for title, _, _ in pictures] if labels is None else labels
    table = pa.table(
        {"image": pa.array(images, pa.struct({"bytes": pa.binary(), "path": pa.string()}))}
        | ({"label": numbers} if len(numbers) else {})
    )
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": CLASSES}}
    told = json.dumps({"info": {"features": features}})
    pq.write_table(table.replace_schema_metadata({"huggingface": told}), file, row_group_size=group)


def write_tar(file, pictures, label="cls"):
    with tarfile.open(file, "w") as tar:

        def add(name, content):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))

        for i, (title, name, content) in enumerate(pictures):
            key = f"{i:06d}"
            add(f"{key}.{name.rpartition('.')[2]}", content)
            if label == "json":
                add(f"{key}.json", json.dumps({"label": title, "more": [1, 2]}).encode())
            elif label:
                add(f"{key}.{label}", title.encode())


@pytest.fixture
def places(pictures, tmp_path, monkeypatch):
    """The same images in each kind of place: the names of the data sets, by kind."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "sets"))
    folder = tmp_path / "folder"
    write_folder(folder, pictures)
    write_list(tmp_path / "list.csv", Path("folder"), pictures)
    for name, part in (("0", pictures[:33]), ("1", pictures[33:])):
        write_parquet(tmp_path / f"part-{name}.parquet", part)
        write_tar(tmp_path / f"part-{name}.tar", part, ("cls", "json")[int(name)])
    return {
        "folder": f"folder:{folder}",
        "list": f"list:{tmp_path / 'list.csv'}",
        "parquet": f"parquet:{tmp_path / '*.parquet'}",
        "tar": f"tar:{tmp_path / 'part-*.tar'}",
    }


def test_parquet_in_an_object_store_is_read_by_its_url(places, tmp_path):
    """In fsspec's store in memory, which is listed, opened and dated as others are."""
    import fsspec

    store = fsspec.filesystem("memory")
    for file in tmp_path.glob("*.parquet"):
        store.pipe(f"/bucket/data/{file.name}", file.read_bytes())
    local = data.load(places["parquet"], image_size=32)
    for name in ("*.parquet", ""):
        images = data.load(f"parquet:memory://bucket/data/{name}", image_size=32)
        own, expected = (next(iter(each.train.plain_batches(48))) for each in (images, local))
        np.testing.assert_array_equal(own, expected)
        np.testing.assert_array_equal(images.train.labels, local.train.labels)
    first = images.train.paths[0]
    assert str(first).startswith("memory:///bucket/data/part-0.parquet#")
    copied = image_named(str(first))
    assert (copied.size, copied.offset) == (first.size, first.offset)
    store.rm("/bucket", recursive=True)
    for name, message in (
        ("parquet:memory://bucket/data/*.parquet", "No file matches memory://bucket"),
        ("parquet:nowhere://bucket/x.parquet", "cannot be read: Protocol not known: nowhere"),
        ("tar:memory://bucket/x.tar", "is a URL, and of these Parquet alone is read"),
    ):
        with pytest.raises(MissingError, match=message):
            check_there(name)


def batches(images, first_step, count):
    made = images.train.training_batches(8, TwoViews(), 3, first_step).take(count)
    return [array for views, labels in made.as_numpy_iterator() for array in (*views, labels)]


def test_every_place_gives_the_same_batches_bit_for_bit(places, tmp_path):
    found = {kind: data.load(name, image_size=32) for kind, name in places.items()}
    expected = found["folder"]
    assert expected.class_names == CLASSES and (len(expected.train), len(expected.test)) == (48, 12)
    wanted = batches(expected, 5, 2)  # the last step of an epoch and the first of the next
    (tests,) = expected.test.plain_batches(12).as_numpy_iterator()
    for kind, images in found.items():
        assert images.class_names == CLASSES, kind
        np.testing.assert_array_equal(images.test.labels, expected.test.labels)
        np.testing.assert_array_equal(*images.test.plain_batches(12).as_numpy_iterator(), tests)
        for one, other in zip(batches(images, 5, 2), wanted, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=kind)
    names = [Path(found[kind].train.paths[0]).name for kind in ("list", "parquet", "tar")]
    first = Path(expected.train.paths[0]).name
    row = next(i for i, name in enumerate(find(tmp_path / "folder").paths) if name.endswith(first))
    assert names == [first, f"part-0.parquet#{row}", f"part-0.tar#{row:06d}{first[2:]}"]
    # Read again, each is the same set; with other labels, another.
    for kind, name in places.items():
        again = data.load(name, image_size=32).train
        assert again.fingerprint() == found[kind].train.fingerprint()
    content = (tmp_path / "part-1.tar").read_bytes()
    (tmp_path / "part-1.tar").write_bytes(content.replace(b'"oak"', b'"ash"'))
    assert data.load(places["tar"], 32).train.fingerprint() != found["tar"].train.fingerprint()


@pytest.mark.slow
def test_a_run_of_a_tar_is_that_of_the_folder_and_is_scored_elsewhere(places, pictures, tmp_path):
    small = "--encoder resnet10 --width 4 --image-size 16 --batch-size 30 --epochs 1 "
    small += "--queue-size 60 --clusters 3 --warmup-epochs 0"
    runs = {kind: tmp_path / f"run-{kind}" for kind in ("folder", "tar")}
    write_tar(tmp_path / "bare.tar", pictures, None)
    names = {"folder": places["folder"], "tar": f"tar:{tmp_path / 'bare.tar'}"}

    def run(kind, *more, **how):
        line = [*small.split(), "--dataset", names[kind], "--run-dir", str(runs[kind]), *more]
        return train.main(line, **how)

    assert run("folder", "--labels", "none") == 0
    scored = ("--eval-dataset", places["list"])  # which changes nothing of what is learnt
    stop = threading.Event()
    stop.set()
    assert run("tar", *scored, stop=stop) == 143  # after its first step
    assert run("tar", *scored, "--resume") == 0
    one, other = (np.load(checkpoints.find(path / "checkpoints")[0]) for path in runs.values())
    assert set(one.files) == set(other.files)
    for name in one.files:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    rows, others = ((path / "metrics.csv").read_text().splitlines() for path in runs.values())
    (row, *_), (other, *_) = (csv.DictReader(lines) for lines in (rows, others))
    assert row["loss"] == other["loss"] and other["knn_top1"] != ""
    summary = json.loads((runs["tar"] / "summary.json").read_text())
    assert summary["eval_dataset"] == places["list"] and summary["num_classes"] == 3
    assert summary["knn_top1"] is not None and summary["online_top1"] is None
    assert json.loads((runs["tar"] / "config.json").read_text())["num_classes"] is None
    # Scored afterwards, it is on the same set, by the same numbers.
    scores = evaluate.evaluate(str(runs["tar"]), no_baselines=True)
    assert scores["dataset"] == places["list"] and scores["test_samples"] == 12
    assert scores["knn_top1"] == summary["knn_top1"] and scores["online_top1"] is None


def test_every_place_is_embedded_alike_and_shown(places, digits_export, tmp_path):
    found = {}
    several = ",".join(str(tmp_path / "folder" / title) for title in CLASSES[1:])
    sources = {**places, "folder": str(tmp_path / "folder"), "list": str(tmp_path / "list.csv")}
    for kind, source in {**sources, "several": several}.items():
        out = tmp_path / f"{kind}.npz"
        assert embed.main([str(digits_export), source, "--output", str(out)]) == 0
        found[kind] = read_file(out)[0]
    for kind, columns in found.items():
        expected = found["folder"]["embeddings"][20 if kind == "several" else 0 :]
        np.testing.assert_array_equal(columns["embeddings"], expected, err_msg=kind)
        pictures = NamedPictures(columns["paths"])
        assert pictures.square(0, 16) is not None, kind
    assert found["parquet"]["paths"][-1] == f"{tmp_path / 'part-1.parquet'}#26"
    one, other = (np.load(tmp_path / f"{kind}.npz") for kind in ("folder", "tar"))
    for name in ("sizes", "hashes"):  # what an update goes by
        np.testing.assert_array_equal(one[name], other[name])
    assert embed.main([str(digits_export), f"tar:{tmp_path}/no*", "--output", "x.npz"]) == 2


def test_folders_are_taken_one_by_one_and_each_image_once(pictures, tmp_path, capsys, monkeypatch):
    one, two = tmp_path / "one", tmp_path / "two, really"
    write_folder(one, pictures[:30])
    write_folder(two, pictures[30:])
    oak = two / "oak"
    (oak / "again.png").symlink_to(one / CLASSES[0] / "00.png")
    (two / "all of one").symlink_to(one)
    alone = data.load(dataset_named(str(two)), labels="none")  # one folder, with a comma
    assert len(alone.train) == 61

    two = two.rename(tmp_path / "two")
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    name = dataset_named("one,two,two/oak,one")
    assert name == "folder:one,two,two/oak,one"
    images = data.load(name, image_size=32)
    assert images.class_names == CLASSES and len(images.train) + len(images.test) == 60
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Images of one: 30 (") and lines[1].startswith("Images of two: 30 (")
    assert lines[2:5] == [
        *("Images of two/oak: 0", "Images of one: 0"),
        "Together: 60; its 3 sub-folders are classes",
    ]
    assert "images that are taken already: 1 (again.png)" in lines[5]
    assert "links to folders that are taken already or lie above: 3" in lines[5]
    record = images.scan.record()
    assert record["folder"] == "one,two,two/oak,one" and record["taken"] == 60
    assert [each["taken"] for each in record["folders"]] == [30, 30, 0, 0]
    split = data.load("folder:one,two", image_size=32).train
    absolute = data.load(f"folder:one,{two}", image_size=32).train
    assert split.fingerprint() == images.train.fingerprint() == absolute.fingerprint()


def test_a_list_says_what_is_not_there_and_what_is_there_twice(pictures, tmp_path, capsys):
    odd = 'new\nline, "quoted".png'
    for i, name in enumerate([odd, "b.png", "c.png", "d.png"]):
        (tmp_path / name).write_bytes(pictures[2 * i][2])
    rows = [
        *(("path", "label", "split"), (odd, "10", "train"), ("b.png", "9", ""), ("b.png", "9", "")),
        *(("gone.png", "9", "train"), ("c.png", "9", "val"), ("d.png", "", "test")),
    ]
    with open(tmp_path / "list.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    images = data.load(dataset_named(str(tmp_path / "list.csv")), image_size=32)
    assert list(images.train.paths) == [str(tmp_path / odd), str(tmp_path / "b.png")]
    assert images.class_names == ("9", "10") and images.train.labels.tolist() == [1, 0]
    assert list(images.test.paths) == [str(tmp_path / "c.png")]
    taken, left = capsys.readouterr().out.splitlines()
    assert taken.endswith("list.csv: 3 (3 .png); 2 classes, the split val is scored")
    assert "named more than once: 1 (b.png)" in left
    assert f"files that are not there: 1 ({tmp_path}/gone.png)" in left
    assert "in test, which is not scored: 1" in left


def test_what_is_said_of_images_is_laid_out_as_folders_are():
    labels = np.array(["b", "a", None, "b", "c", "a"], object)
    splits = np.array(["train", "train", "train", "val", "val", "test"], object)
    layout = lay_out(6, labels, splits)
    assert layout.names == ("a", "b") and layout.train.tolist() == [0, 1, 2]
    assert layout.test.tolist() == [5] and layout.labels.tolist() == [1, 0, -1, 1, -1, 0]
    assert [(why, index.tolist()) for why, index in layout.left] == [
        *(("in test without a class of train", []), ("in val, which is not scored", [3, 4])),
    ]
    without = lay_out(6, None, splits)
    assert without.test is without.labels is None and without.train.tolist() == [0, 1, 2]
    assert without.left[0][1].tolist() == [3, 4, 5]
    assert lay_out(6, labels, np.array(["test"] * 6, object)).train.tolist() == list(range(6))
    numbers = lay_out(3, np.array([7, 3, 7], object), names=tuple("abcdefgh"))
    assert numbers.names == ("d", "h") and numbers.labels.tolist() == [1, 0, 1]


def test_archives_say_splits_and_leave_what_is_no_image(pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "sets"))
    sets = tmp_path / "data"
    sets.mkdir()
    train_part = pictures[:15] + pictures[20:35] + [("oak", "x", b""), ("oak", "x", None)]
    write_parquet(sets / "train-00000-of-00001.parquet", train_part)
    write_parquet(sets / "validation-00000-of-00001.parquet", pictures[15:20] + pictures[40:])
    images = data.load(f"parquet:{sets}", image_size=32)
    assert images.class_names == CLASSES[:2] and (len(images.train), len(images.test)) == (30, 5)
    taken, left = capsys.readouterr().out.splitlines()
    assert taken.endswith("35 (35 .parquet); 2 classes, the split validation is scored")
    assert "unreadable: 2 (train-00000-of-00001.parquet#30: the file is empty" in left
    assert "in validation without a class of train: 20" in left
    # The copy is made once, and one that was cut off is not used.
    (copy, _) = sorted((tmp_path / "sets" / "cueco_tf_files" / "parquet").glob("*/images.bin"))
    monkeypatch.setattr(spool, "_write", None)
    assert data.load(f"parquet:{sets}", image_size=32).train.fingerprint()
    copy.write_bytes(copy.read_bytes()[:-1])
    with pytest.raises(DataError, match="is damaged: remove it"):
        data.load(f"parquet:{sets}", image_size=32)

    capsys.readouterr()
    captions = [(f"a photo, number {i}", name, each) for i, (_, name, each) in enumerate(pictures)]
    write_tar(tmp_path / "shard-val-0.tar", [*captions, ("more", "a.mp4", b"no image")], "txt")
    images = data.load(dataset_named(str(tmp_path / "shard-val-0.tar")), image_size=32)
    assert images.test is None and len(images.train) == 60
    assert capsys.readouterr().out.splitlines()[1] == (
        "Left out: labels of no image: 1 (000060); 1 .mp4 (no image format that is read here)"
    )
    with tarfile.open(tmp_path / "dots.tar", "w") as tar:
        for i, (_, _, content) in enumerate(pictures[::2][:4]):
            for name, each in ((f"2021.01.{i}.png", content), (f"b{i}.txt", b"oak")):
                member = tarfile.TarInfo(name)
                member.size = len(each)
                tar.addfile(member, io.BytesIO(each))
        member = tarfile.TarInfo("a.png")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    capsys.readouterr()
    assert len(data.load(f"tar:{tmp_path / 'dots.tar'}", image_size=32).train) == 2
    left = capsys.readouterr().out.splitlines()[1]
    assert "further images of a key, which ends at the first dot of a name: 3 (2021.01.1.pn" in left
    assert "labels of no image: 4 (b0, b1, b2, ...)" in left
    write_tar(tmp_path / "texts.tar", pictures, "txt")
    assert data.load(f"tar:{tmp_path / 'texts.tar'}", image_size=32).class_names == CLASSES


def test_parquet_is_known_by_its_place_and_columns_by_their_whole_names(
    pictures, tmp_path, monkeypatch
):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "sets"))
    for name, rows in (("one", slice(0, 60, 2)), ("two", slice(60, None, -2))):
        contents = [content.ljust(4000, b"\0") for _, _, content in pictures[rows]]
        file = tmp_path / name / "train.parquet"
        file.parent.mkdir()
        table = pa.table({"image.png": contents, "label": [0, 1] * (len(contents) // 2)})
        pq.write_table(table, file, compression="none", use_dictionary=False)
        os.utime(file, (1, 1))
        # The state of a file is not all that tells it from others.
        images = data.load(f"parquet:{file}", image_size=32)
        chosen = sorted(images.train.paths, key=lambda path: int(path.rpartition("#")[2]))
        assert [path.read().rstrip(b"\0") for path in chosen[:3]] == [
            contents[int(path.rpartition("#")[2])].rstrip(b"\0") for path in chosen[:3]
        ]
    assert suffix(chosen[0]) == ".parquet"
    (odd := tmp_path / "d#1").mkdir()
    file.rename(odd / "x.parquet")
    images = data.load(f"parquet:{odd}", image_size=32)
    assert {suffix(path) for path in images.train.paths} == {".parquet"}


def test_parquet_is_looked_into_once(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "sets"))
    write_parquet(tmp_path / "a.parquet", pictures)
    opened, real = [], parquet._opened
    monkeypatch.setattr(parquet, "_opened", lambda file: opened.append(file) or real(file))
    name = f"parquet:{tmp_path / 'a.parquet'}"
    check_there(name)
    data.load(name, image_size=32)
    assert len(opened) == 3  # for its columns, its labels, and its images
    write_parquet(tmp_path / "a.parquet", pictures[:50])
    assert sum(map(len, filter(None, (data.load(name).train, data.load(name).test)))) == 50


def test_marks_of_all_stores_tell_files_apart(tmp_path, monkeypatch):
    import fsspec

    told, url = {}, "memory://bucket/x.parquet"
    fsspec.filesystem("memory").pipe("/bucket/x.parquet", b"x")
    monkeypatch.setattr(
        fsspec.filesystem("memory"), "info", lambda path: {"size": 1, "type": "file"} | told
    )
    for name in ("ETag", "Last-Modified", "LastModified", "md5Hash", "blob_id", "updated"):
        states = []
        for mark in ("1", "2"):
            told = {name: mark}
            states.append(remote.state_of(url))
        assert states[0] != states[1], name


def bad(tmp_path, pictures):
    """Data sets that cannot be used, with what is said of them."""
    image = pa.array([{"bytes": each[2], "path": each[1]} for each in pictures[:4]])
    tables = {
        "text": {"image": ["a.png"] * 4, "label": [0, 1, 0, 1]},
        "float": {"image": image, "label": [0.5, 1.0, 0.0, 1.0]},
        "two": {"a": [b"1"] * 4, "b": [b"2"] * 4},
        "none": {"image": image.slice(0, 0)},
    }
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    write_parquet(tmp_path / "above.parquet", pictures[:2], [0, 3])
    write_parquet(tmp_path / "x-0.parquet", pictures[:2])
    write_parquet(tmp_path / "x-1.parquet", pictures[:2], [])
    (tmp_path / "no.parquet").write_bytes(b"no Parquet")
    (tmp_path / "no.tar").write_bytes(b"no tar" * 200)
    write_tar(tmp_path / "whole.tar", pictures[:5])
    whole = (tmp_path / "whole.tar").read_bytes()
    ends = {"member": 3000, "header": 512 * 7 + 100, "mark": len(whole.rstrip(b"\0")) // 512 * 512}
    for name, end in ends.items():
        (tmp_path / f"{name}.tar").write_bytes(whole[: end + (512 if name == "mark" else 0)])
    (tmp_path / "zipped.tar").write_bytes(gzip.compress(whole))
    write_tar(tmp_path / "words.tar", [("oak", "a.mp4", b"0")])
    write_tar(tmp_path / "mixed.tar", [("7", *pictures[0][1:]), ("oak", *pictures[1][1:])])
    (tmp_path / "a.png").write_bytes(pictures[0][2])
    texts = {
        "head.csv": "file,label\na.png,1\n",
        "mixed.csv": "path,label\na.png,1\na.png,oak\n",
        "below.csv": "path,label\na.png,-2\n",
        "split.csv": "path,split\na.png,dev\n",
        "quote.csv": 'path,label\n"a.png,1\n',
        "gone.txt": "b.png\nc.png\n",
        "empty.txt": "\n",
        "long.txt": "a" * 140_000 + "\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return [
        (f"parquet:{tmp_path}/text.parquet", "column of image bytes"),
        (f"parquet:{tmp_path}/float.parquet", "integers or text. Received: label: double"),
        (f"parquet:{tmp_path}/two.parquet", "called image where there are several"),
        (f"parquet:{tmp_path}/above.parquet", "should be below 3, the number of names"),
        (f"parquet:{tmp_path}/*o.parquet", "cannot be read as Parquet"),
        (
            f"parquet:{tmp_path}/x-*.parquet",
            "columns and classes of .*x-0.parquet: image, label",
        ),
        (f"parquet:{tmp_path}/new/*", "No file matches"),
        (f"tar:{tmp_path}/new*.tar", "No file matches"),
        (f"tar:{tmp_path}/no.tar", "is no tar that can be read to its end"),
        *((f"tar:{tmp_path}/{name}.tar", "is no tar that can be read") for name in ends),
        (f"tar:{tmp_path}/zipped.tar", "is no tar that can be read"),
        (f"tar:{tmp_path}/words.tar", "There is no image in"),
        (f"tar:{tmp_path}/mixed.tar", "not both. Received: 7 and 'oak'"),
        (f"list:{tmp_path}/new.csv", "new.csv cannot be read: No such file"),
        (f"list:{tmp_path}/a.png", "is no text in UTF-8"),
        (f"list:{tmp_path}/head.csv", "path among them. Received: 'file,label'"),
        (f"list:{tmp_path}/mixed.csv", "not both. Received: 1 and 'oak'"),
        (f"list:{tmp_path}/below.csv", "-1 where unknown, or names. Received: -2"),
        (f"list:{tmp_path}/split.csv", "should be train, or one of .* Received: 'dev'"),
        (f"list:{tmp_path}/quote.csv", "cannot be read as CSV"),
        (f"list:{tmp_path}/gone.txt", "names no file that is there"),
        (f"list:{tmp_path}/empty.txt", "is empty"),
        (f"list:{tmp_path}/long.txt", "names no file that is there"),
        ("list:~nosuchuser/a.txt", "~nosuchuser/a.txt cannot be read: No such file"),
        ("parquet:~nosuchuser/*", "No file matches"),
        ("array:~nosuchuser/a.npy", "There is no file|cannot be read"),
        ("folder:~nosuchuser", "There is no folder"),
        (f"folder:{tmp_path},{tmp_path}/new", "There is no folder"),
    ]


def test_what_cannot_be_used_is_refused_in_a_line_before_anything_is_made(
    pictures, tmp_path, monkeypatch
):
    places = tmp_path / "places"
    places.mkdir()
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "sets"))
    for name, words in bad(places, pictures):
        for door in (check_there, data.load):
            with pytest.raises((MissingError, DataError), match=words) as refusal:
                door(name)
            assert len(str(refusal.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == [places]
    with pytest.raises(DataError, match="its tables have no rows"):
        data.load(f"parquet:{places}/none.parquet")
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=10))
    with pytest.raises(DataError, match=r"no room for the images.* Choose another --data-dir"):
        write_parquet(places / "good.parquet", pictures)
        data.load(f"parquet:{places}/good.parquet")


def test_a_run_is_scored_on_its_own_set_or_on_a_labelled_one_beside_it(places, tmp_path):
    bare = data.load(places["folder"], image_size=16, labels="none")

    def scored(images, **given):
        config = RunConfig.for_dataset(places["folder"], image_size=16, **given)
        return data.scored_for(config, images)

    assert scored(bare) is bare
    other = scored(bare, eval_dataset=places["tar"])
    assert other.train.image_size == 16 and other.class_names == CLASSES
    with pytest.raises(
        DataError, match=r"is for a set without labels, and folder:.* has 3 classes"
    ):
        scored(data.load(places["folder"], image_size=16), eval_dataset=places["tar"])
    (tmp_path / "bare.txt").write_text("\n".join(bare.train.paths[:4]))
    with pytest.raises(DataError, match=r"bare.txt has no labels, so --eval-dataset cannot be"):
        scored(bare, eval_dataset=f"list:{tmp_path / 'bare.txt'}")


def test_heic_is_read_where_its_extra_is_and_named_where_it_is_not(pictures, tmp_path):
    pixels = np.asarray(Image.open(io.BytesIO(pictures[0][2])))
    for name in ("0.heic", "1.HEIF", "2.png"):
        image = Image.fromarray(np.repeat(np.repeat(pixels, 4, 0), 4, 1))
        image.save(tmp_path / name, {"png": "PNG"}.get(name[2:], "HEIF"), quality=95)
    one, other, png = (
        data.load(f"folder:{tmp_path}").train.plain_batches(3).as_numpy_iterator().next()
    )
    assert np.abs(one.astype(int) - png).mean() < 4 and (one == other).all()
    script = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from cueco_tf.data.scan import scan; print(*scan(sys.argv[1]).lines(), sep='\\n')"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    taken, left = done.stdout.splitlines()
    assert taken.endswith(": 1 (1 .png)")
    assert left == (
        "Left out: 1 .heic, 1 .heif (read with: python -m pip install 'cueco-tf[heic]')"
    )
