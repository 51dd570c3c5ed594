"""Where pictures live: folders, lists, Parquet, tars and HEIC give the same images."""

import csv
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cueco_tf import TwoViews, data
from cueco_tf.data import spool
from cueco_tf.data.columns import ListingError, lay_out
from cueco_tf.data.members import Member
from cueco_tf.data.presence import MissingError, check_there
from cueco_tf.data.scan import find
from cueco_tf.data.splits import DataError

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
        rows.writerow(["label", "weight", "path"])
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


def batches(images, first_step, count):
    made = images.train.training_batches(8, TwoViews(), 3, first_step).take(count)
    return [[*views, labels] for views, labels in made.as_numpy_iterator()]


def test_every_place_gives_the_same_batches_bit_for_bit(places, tmp_path):
    found = {kind: data.load(name, image_size=32) for kind, name in places.items()}
    expected = found["folder"]
    assert expected.class_names == CLASSES and (len(expected.train), len(expected.test)) == (48, 12)
    wanted = batches(expected, 0, 8)
    tests = list(expected.test.plain_batches(12).as_numpy_iterator())
    for kind, images in found.items():
        assert images.class_names == CLASSES, kind
        np.testing.assert_array_equal(images.test.labels, expected.test.labels)
        np.testing.assert_array_equal(list(images.test.plain_batches(12).as_numpy_iterator()), tests)
        # From the beginning, and from a step in the second epoch as after a kill.
        for first in (0, 7):
            for one, other in zip(batches(images, first, 1), wanted[first : first + 1], strict=True):
                for a, b in zip(one, other, strict=True):
                    np.testing.assert_array_equal(a, b, err_msg=kind)
    names = [Path(found[kind].train.paths[0]).name for kind in ("list", "parquet", "tar")]
    assert names == ["00.png", "part-0.parquet#0", "part-0.tar#000000.png"]
    again = {kind: data.load(name, image_size=32).train for kind, name in places.items()}
    prints = {kind: split.fingerprint() for kind, split in again.items()}
    assert prints == {kind: images.train.fingerprint() for kind, images in found.items()}
    # Another image in an archive is another set.
    with open(tmp_path / "part-1.tar", "rb+") as file:
        content = file.read().replace(b"oak", b"ash")
        file.seek(0)
        file.write(content)
    assert data.load(places["tar"], image_size=32).train.fingerprint() != prints["tar"]
