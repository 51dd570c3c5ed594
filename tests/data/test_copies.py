import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cueco_tf import data, storage
from cueco_tf.data import copies, image_files, stores
from cueco_tf.data.augment import TwoViews
from cueco_tf.data.copies import keep_copies
from cueco_tf.data.stores import CacheError
from cueco_tf.ownership import own

KINDS = ("views", "plain")


@pytest.fixture
def photos(cifar, tmp_path):
    """Real images of several shapes, twelve."""
    for i, image in enumerate(cifar.train.images[:12]):
        size = (60, 40) if i % 2 else (70, 70)
        Image.fromarray(image).resize(size).save(tmp_path / f"{i:02d}.png")
    return tmp_path


def load(photos, size=32):
    return data.load(f"folder:{photos}", image_size=size)


def batches(images):
    views = list(images.train.training_batches(5, TwoViews(), 0, 0).take(6))
    return views, list(images.train.plain_batches(5))


def assert_same(own, other):
    tf.nest.map_structure(np.testing.assert_array_equal, own, other)


@pytest.fixture
def decoded(monkeypatch):
    """The paths that are decoded, one after the other."""
    paths, crop = [], image_files.crop

    def recorded(path, *arguments):
        paths.append(str(path))
        return crop(path, *arguments)

    monkeypatch.setattr(image_files, "crop", recorded)
    return paths


@pytest.mark.parametrize("where", ["memory", "folder", "auto"])
def test_each_image_is_decoded_once_and_batches_are_the_same(photos, where, tmp_path, decoded):
    images = load(photos)
    expected = batches(images)
    assert len(decoded) >= 2 * 12 + 12  # two epochs, and an evaluation
    where = tmp_path / "cache" if where == "folder" else where
    with keep_copies(images, where) as kept:
        assert_same(batches(kept), expected)
        decoded.clear()
        assert_same(batches(kept), expected)
        part = kept.train.take(np.array([3, 7])).take(np.array([1]))
        (row,) = next(iter(part.plain_batches()))
        np.testing.assert_array_equal(row, np.concatenate(expected[1])[7])
    assert decoded == []
    with keep_copies(load(photos), where) as again:
        assert_same(batches(again), expected)
    assert bool(decoded) == (where != tmp_path / "cache")


def test_copies_that_are_damaged_or_of_other_images_are_made_anew(photos, tmp_path, decoded):
    cache = tmp_path / "cache"
    with keep_copies(load(photos), cache) as kept:
        expected = batches(kept)
    (rows,) = cache.glob("views-48-*/rows")
    with open(rows, "r+b") as file:
        file.seek(4 * 48 * 48 * 3 + 11)
        file.write(b"damage")
    decoded.clear()
    with keep_copies(load(photos), cache) as kept:
        assert_same(batches(kept), expected)
    assert decoded == [str(photos / "04.png")]
    Image.fromarray(np.zeros((70, 70, 3), np.uint8)).save(photos / "04.png")
    with keep_copies(load(photos), cache) as kept:
        assert np.concatenate(batches(kept)[1])[4].max() == 0
    with keep_copies(load(photos, 16), cache) as kept:
        assert batches(kept)[1][0].shape == (5, 16, 16, 3)


def test_a_second_process_reads_and_the_first_alone_adds(photos, tmp_path):
    script = f"""
import sys
from cueco_tf import data, storage
from cueco_tf.data.copies import keep_copies
images = data.load("folder:{photos}", image_size=32)
with keep_copies(images, "{tmp_path}/cache") as kept:
    list(kept.train.plain_batches())
    print("READY", flush=True)
    sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    while "READY" not in process.stdout.readline():
        assert process.poll() is None
    with keep_copies(load(photos), tmp_path / "cache") as kept:
        assert_same(batches(kept), batches(load(photos)))
    process.kill()  # which takes the lock away, and nothing else
    process.wait()
    with keep_copies(load(photos), tmp_path / "cache") as kept:
        written = [getattr(kept.train.copies, kind)._checks.astype(bool).sum() for kind in KINDS]
        assert written == [0, 12]
        batches(kept)
        assert kept.train.copies.views._checks.all()


def test_what_cannot_hold_copies_is_refused_or_done_without(photos, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    for where in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(CacheError, match="file"), keep_copies(load(photos), where):
            pass
    with pytest.raises(CacheError, match=r"--cache should be .* Received: .*file"):
        copies.check_cache(tmp_path / "file")
    usage = storage.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda path: usage)
    with (
        pytest.raises(CacheError, match=r"they need 120 kB, and the disk has 1 kB left"),
        keep_copies(load(photos), tmp_path / "cache"),
    ):
        pass
    assert not (tmp_path / "cache").exists()
    images = load(photos)
    large = dataclasses.replace(images, train=dataclasses.replace(images.train, copy_size=10**7))
    with (
        pytest.raises(CacheError, match=r"cannot be kept in memory: .*Choose --cache DIR"),
        keep_copies(large, "memory"),
    ):
        pass
    monkeypatch.setattr(copies, "free_memory", lambda: 100_000)
    with keep_copies(images := load(photos), "auto") as kept:
        assert kept is images
    assert "would take 120 kB, and 100 kB of memory are free" in capsys.readouterr().out


def test_a_disk_that_fills_ends_the_keeping_and_not_the_training(photos, tmp_path, monkeypatch):
    with keep_copies(load(photos), tmp_path / "cache") as kept:
        expected = batches(load(photos))

        def full(*_):
            raise OSError(28, os.strerror(28))

        monkeypatch.setattr(os, "pwrite", full)
        with pytest.warns(UserWarning, match="No more copies are kept: .*No space left"):
            assert_same(batches(kept), expected)


def test_copies_are_of_what_is_read_alone(cifar, tmp_path):
    for i, image in enumerate(cifar.train.images[:20]):
        path = tmp_path / "photos" / f"{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    images = load(tmp_path / "photos")
    with keep_copies(images, tmp_path / "cache") as kept:
        count = {name: len(getattr(kept, name)) for name in ("train", "test")}
        for name in count:
            list(getattr(kept, name).plain_batches())
        assert not kept.test.copies.views.read(0, None)
    made = sorted(path.stat().st_size for path in tmp_path.glob("cache/*/rows"))
    pixels = 32 * 32 * 3
    assert made == sorted([count["train"] * pixels] * 2 + [count["test"] * pixels])
    with keep_copies(images, tmp_path / "scored", trained=False):
        assert len(list((tmp_path / "scored").glob("plain-*"))) == 2
        assert len(list((tmp_path / "scored").glob("*/rows"))) == 2


def test_copies_are_of_one_place_however_it_is_named(cifar, tmp_path, monkeypatch, decoded):
    for name, first in (("one", 0), ("two", 50)):
        for i in range(6):
            path = tmp_path / name / "data" / f"{i}.bmp"  # of one size, whatever they show
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(cifar.train.images[first + i]).save(path)
            os.utime(path, (1, 1))
    for where, name in (("one", "data"), ("two", "data"), ("two", tmp_path / "two" / "data")):
        monkeypatch.chdir(tmp_path / where)
        images = load(name)
        expected = np.concatenate(list(images.train.plain_batches()))
        decoded.clear()
        with keep_copies(images, tmp_path / "cache") as kept:
            found = np.concatenate(list(kept.train.plain_batches()))
        np.testing.assert_array_equal(found, expected)
    assert decoded == []  # the second time


def test_copies_of_another_user_are_read(photos, tmp_path, monkeypatch, decoded):
    with keep_copies(load(photos), tmp_path / "cache") as kept:
        expected = batches(kept)

    def refused(path):
        raise PermissionError(13, os.strerror(13), str(path))

    monkeypatch.setattr(stores, "own", refused)
    decoded.clear()
    with keep_copies(load(photos), tmp_path / "cache") as kept:
        assert_same(batches(kept), expected)
        assert decoded == []
        monkeypatch.setattr(os, "preadv", lambda *_: refused("rows"))  # the disk is gone
        assert_same(batches(kept), expected)
    monkeypatch.undo()
    (rows,) = tmp_path.glob("cache/views-*/rows")
    rows.unlink()
    with keep_copies(load(photos), tmp_path / "cache") as kept:
        assert_same(batches(kept), expected)
        assert kept.train.copies.views._checks.all()


def test_a_folder_that_another_process_makes_is_waited_for(photos, tmp_path, monkeypatch):
    images = load(photos)
    with keep_copies(images, tmp_path / "made"):
        pass
    (views,) = (tmp_path / "made").glob("views-*")
    monkeypatch.setattr(stores, "_LOOK_AGAIN", 0.01)
    looks = []

    def appears(seconds):
        looks.append(seconds)
        if len(looks) == 3:
            shutil.copytree(views, tmp_path / "cache" / views.name)

    with monkeypatch.context() as changed, own(tmp_path / "cache" / views.name):
        changed.setattr(stores.time, "sleep", appears)
        with keep_copies(images, tmp_path / "cache") as kept:
            assert isinstance(kept.train.copies.views, stores.Folder)
    assert looks == [0.01] * 3
    with (
        own(tmp_path / "other" / views.name),
        pytest.warns(UserWarning, match="are not used"),
        keep_copies(images, tmp_path / "other") as kept,
    ):
        assert isinstance(kept.train.copies.views, stores.Nowhere)


def test_pages_of_files_are_free_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(copies, "_LIMITS", tmp_path)
    gigabyte = 10**9
    told = {"max": gigabyte, "current": gigabyte - 10}
    for name, number in told.items():
        (tmp_path / f"memory.{name}").write_text(f"{number}\n")
    (tmp_path / "memory.stat").write_text(f"anon 9\nactive_file 5\ninactive_file {10**8}\n")
    assert copies.free_memory() == 10**8 + 15
    (tmp_path / "memory.current").write_text(f"{2 * gigabyte}\n")
    assert copies.free_memory() == 0
    (tmp_path / "memory.max").write_text("max\n")
    assert copies.free_memory() > 2**28


def test_free_memory_is_some_part_of_what_there_is():
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 2**28 < copies.free_memory() <= total
    assert [stores.in_bytes(n) for n in (12, 83_100, 5 * 10**12)] == ["12 bytes", "83.1 kB", "5 TB"]
    assert Path("/proc/meminfo").exists() or sys.platform != "linux"
