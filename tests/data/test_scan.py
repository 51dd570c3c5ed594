"""What is taken from a folder and what is left, by names alone and after a look into each file."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cueco_tf import data
from cueco_tf.data.file_splits import FileSplit
from cueco_tf.data.scan import find, scan
from cueco_tf.data.splits import DataError


def put(*paths):
    """Small images, each of its own noise."""
    for i, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(path, format="PNG")


def below(scan):
    return [Path(path).relative_to(scan.places[0]).as_posix() for path in scan.paths]


def test_what_systems_and_programs_leave_is_no_class(tmp_path):
    put(tmp_path / "a" / "0.png", tmp_path / "b" / "0.png")
    service = (".ipynb_checkpoints", "@eaDir", "__MACOSX", ".git", "a/.thumbnails", "b/@EADIR")
    put(*(tmp_path / name / "0.png" for name in service), tmp_path / "a" / "._0.png")
    found = find(tmp_path)
    assert below(found) == ["a/0.png", "b/0.png"]
    assert found.left.reasons["hidden or service folders"]["count"] == 6
    assert found.left.reasons["hidden files"] == {"count": 1, "examples": ["._0.png"]}
    assert data.load(f"folder:{tmp_path}").class_names == ("a", "b")


def test_files_that_are_left_are_named_by_suffix(tmp_path):
    put(tmp_path / "0.png", tmp_path / "1.JPG")
    for name in ("2.NEF", "3.nef", "4.cr3", "5.dcm", "list.csv", "IMG_0001", ".DS_Store"):
        (tmp_path / name).write_bytes(b"no image")
    found = find(tmp_path)
    assert below(found) == ["0.png", "1.JPG"]
    counts = {why: each["count"] for why, each in found.left.reasons.items()}
    assert counts == {
        **{".nef": 2, ".cr3": 1, ".dcm": 1, ".csv": 1},
        **{"no suffix": 1, "hidden files": 1},
    }
    left = str(found.left)
    assert "no suffix: 1 (IMG_0001)" in left and "hidden files: 1 (.DS_Store)" in left
    assert re.search(r"; 2 \.nef, 1 \.\w+, .* [(]no image format that is read here[)]$", left)
    for i in range(200):  # what is no suffix does not fill a page
        (tmp_path / f"part.{i:03}").touch()
    left = find(tmp_path).left
    assert len(left.reasons) < 60 and len(str(left)) < 400 and "others (no image" in str(left)
    (tmp_path / f"part.{'x' * 200}").touch()
    assert sum(find(tmp_path).left.counts().values()) == 208
    assert len(json.dumps(find(tmp_path).left.counts())) < 2000


def test_links_are_followed_once_and_never_in_a_circle(tmp_path):
    real, root = tmp_path / "real", tmp_path / "linked"
    put(
        real / "a" / "0.png",
        real / "b" / "0.png",
        root / "c" / "0.png",
        root / "deep" / "d" / "0.png",
    )
    put(tmp_path / "outside.png")
    (root / "a").symlink_to(real / "a")
    (root / "b").symlink_to(real / "b")
    (root / "b-again").symlink_to(real / "b")
    (root / "c" / "up").symlink_to(root)
    (root / "above").symlink_to(tmp_path)
    (root / "0-there-anyway").symlink_to(root / "deep")
    (real / "a" / "self").symlink_to("self")
    (root / "file.png").symlink_to(real / "a" / "0.png")
    (root / "broken.png").symlink_to(tmp_path / "gone.png")
    os.mkfifo(root / "pipe.png")
    found = find(root)
    assert below(found) == ["a/0.png", "b/0.png", "c/0.png", "deep/d/0.png", "file.png"]
    counts = {why: each["count"] for why, each in found.left.reasons.items()}
    assert counts == {
        "links to folders that are taken already or lie above": 4,
        "broken links and other things that are no files": 3,
    }


def test_the_order_is_that_of_the_names_part_by_part(tmp_path):
    names = ["a/z.png", "a-b/0.png", "a.png", "a b/0.png", "B/0.png", "a/b/0.png", "ä.png"]
    put(*(tmp_path / name for name in names))
    found = find(tmp_path)
    assert list(map(Path, found.paths)) == sorted(tmp_path / name for name in names)


def test_names_that_are_no_text_stay_on_one_line(tmp_path):
    put(tmp_path / "0.png", tmp_path / "1.png")
    odd = os.fsencode(tmp_path) + b"/new\nline-\xff"
    Path(os.fsdecode(odd)).write_bytes(b"")
    put(Path(os.fsdecode(odd + b".png")))
    found = scan(tmp_path)
    assert len(found) == 3 and os.fsencode(found.paths[2]) == odd + b".png"
    assert all(line.encode() and "\n" not in line for line in found.lines())
    assert "no suffix: 1 (new?line-" in found.lines()[1]


def test_what_cannot_be_read_is_left_with_its_reason(tmp_path):
    put(tmp_path / "0.png", tmp_path / "1.png")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("no image")
    Image.fromarray(np.zeros((9, 9), np.float32)).save(tmp_path / "float.tif")
    Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    found = scan(tmp_path)
    assert below(found) == ["0.png", "1.png"] and found.sizes.tolist() == [[16, 16]] * 2
    unreadable = found.left.reasons["unreadable"]
    assert unreadable["count"] == 4
    for start, example in zip(
        (
            "empty.png: the file is empty",
            "float.tif: floating-point pixels, whose black and white are not known: say them with",
            "huge.png: more than 180 megapixels, the limit of --max-megapixels",
            "text.jpg: UnidentifiedImageError: ",
        ),
        unreadable["examples"],
        strict=True,
    ):
        assert example.startswith(start)


def test_the_record_is_what_the_lines_say(tmp_path):
    put(tmp_path / "a" / "0.png", tmp_path / "a" / "1.png", tmp_path / "b" / "0.png")
    (tmp_path / "b" / "1.nef").write_bytes(b"")
    images = data.load(f"folder:{tmp_path}")
    assert json.loads(json.dumps(images.scan.record())) == {
        "folder": str(tmp_path),
        "taken": 3,
        "suffixes": {".png": 3},
        "sub_folders": "its 2 sub-folders are classes",
        "left": {".nef": {"count": 1, "examples": ["1.nef"]}},
    }


def labels_of(images):
    """The names of the classes by file, of both splits."""
    named = {}
    for split in (images.train, images.test):
        for path, label in zip(split.paths, split.labels, strict=True):
            named[Path(path).name] = images.class_names[label] if label >= 0 else None
    return named


def test_a_stray_image_has_no_class_and_a_nested_one_has_its_own(tmp_path, capsys):
    put(*(tmp_path / name / f"{name}{i}.png" for name in "ab" for i in range(4)))
    put(tmp_path / "cover.png", tmp_path / "a" / "deep" / "nested.png")
    images = data.load(f"folder:{tmp_path}")
    assert labels_of(images) == {
        **{f"{name}{i}.png": name for name in "ab" for i in range(4)},
        "nested.png": "a",
        "cover.png": None,
    }
    assert "cover.png" in [Path(path).name for path in images.train.paths]
    assert (images.test.labels >= 0).all() and images.num_classes == 2
    line = capsys.readouterr().out.splitlines()[0]
    assert line.endswith("its 2 sub-folders are classes, without a class: 1 (cover.png)")


def test_train_and_val_are_splits(tmp_path, capsys):
    put(
        *(
            tmp_path / part / name / f"{i}.png"
            for part in ("train", "val")
            for name in "ab"
            for i in (0, 1)
        )
    )
    put(tmp_path / "val" / "c" / "0.png", tmp_path / "cover.png")
    images = data.load(f"folder:{tmp_path}")
    assert images.class_names == ("a", "b") and (len(images.train), len(images.test)) == (5, 4)
    assert all("/val/" in path for path in images.test.paths)
    np.testing.assert_array_equal(images.test.labels, [0, 0, 1, 1])
    taken, left = capsys.readouterr().out.splitlines()
    assert "train/ has 2 classes, val/ is scored, without a class: 1 (cover.png)" in taken
    assert left == "Left out: in val/ without a class of train/: 1"
    # Asked for or not, the test images are never trained on, but where names mean nothing.
    assert data.load(f"folder:{tmp_path}", labels="folders").class_names == ("a", "b")
    everything = data.load(f"folder:{tmp_path}", labels="none")
    assert len(everything.train) == 10 and everything.test is None


def test_masks_are_no_class(tmp_path, capsys):
    put(*(tmp_path / part / f"{i}.png" for part in ("images", "masks") for i in range(3)))
    images = data.load(f"folder:{tmp_path}")
    assert images.num_classes is None and len(images.train) == 3
    assert all("/images/" in path for path in images.train.paths)
    assert "Left out: in masks/ (--labels folders makes" in capsys.readouterr().out
    assert data.load(f"folder:{tmp_path}", labels="folders").class_names == ("images", "masks")
    assert len(data.load(f"folder:{tmp_path}", labels="none").train) == 6


def test_classes_that_are_asked_for_and_not_there(tmp_path):
    put(tmp_path / "a" / "0.png", tmp_path / "1.png")
    with pytest.raises(DataError, match="--labels folders needs two sub-folders with images"):
        data.load(f"folder:{tmp_path}", labels="folders")


def test_one_long_path_costs_its_own_length(tmp_path):
    deep = tmp_path.joinpath(*("x" * 200 for _ in range(5)))
    put(*(tmp_path / f"{i:03}.png" for i in range(50)), deep / "0.png")
    split = data.load(f"folder:{tmp_path}").train
    assert isinstance(split, FileSplit) and len(split) == 51
    assert len(split.paths[50]) > 1000 and split.paths.dtype == object
    assert split.paths.nbytes == 51 * 8  # each the address of a string of its own
    assert split.take([50, 0]).paths[0] is split.paths[50]
