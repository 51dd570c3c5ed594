"""Images in a NumPy file are a data set."""

import numpy as np
import pytest

from cueco_tf import data, train
from cueco_tf.data.labels import UNLABELLED
from pipelines import embed, evaluate, export


@pytest.fixture(scope="module")
def grey(digits):
    """uint8 `(90, 16, 16)`, and class numbers from 1 to 3."""
    chosen = np.concatenate([np.flatnonzero(digits.train.labels == d)[:30] for d in (1, 2, 3)])
    return digits.train.images[chosen][..., 0], digits.train.labels[chosen]


def load(path, **options):
    return data.load(f"array:{path}", **options)


def test_an_npy_file_holds_images_alone(grey, tmp_path, capsys):
    np.save(tmp_path / "grey.npy", grey[0])
    images = load(tmp_path / "grey.npy")
    assert images.test is None and images.train.labels is None and images.num_classes is None
    np.testing.assert_array_equal(images.train.images, np.repeat(grey[0][..., None], 3, axis=-1))
    assert "90 of uint8 (90, 16, 16); no labels" in capsys.readouterr().out


@pytest.mark.parametrize("named", [False, True])
def test_an_npz_file_may_hold_labels(named, grey, tmp_path):
    images, labels = grey[0], grey[1].copy()
    labels = np.array([f"digit {label}" for label in labels]) if named else labels
    if not named:
        labels[:5] = UNLABELLED
    np.savez(tmp_path / "grey.npz", images=images, labels=labels, other=np.zeros(3))
    found = load(tmp_path / "grey.npz")
    names = ("digit 1", "digit 2", "digit 3") if named else ("1", "2", "3")
    assert found.class_names == names
    assert len(found.train) + len(found.test) == 90
    assert len(found.test) == (18 if named else 17)
    assert np.sum(found.train.labels == UNLABELLED) == (0 if named else 5)
    of_image = {image.tobytes(): str(label) for image, label in zip(images, labels, strict=True)}
    for split in (found.train, found.test):
        for image, label in zip(split.images, split.labels, strict=True):
            expected = of_image[np.ascontiguousarray(image[..., 0]).tobytes()]
            assert expected == (names[label] if label >= 0 else str(UNLABELLED))


def test_sixteen_bits_are_kept_unless_eight_are_asked_for(grey, tmp_path):
    deep = grey[0].astype(np.uint16) * 16 + np.arange(16, dtype=np.uint16)
    np.save(tmp_path / "deep.npy", deep)
    with pytest.warns(UserWarning, match=r"use pixels from \d+ to 4,\d+.*--pixel-range 0 4095"):
        found = load(tmp_path / "deep.npy").train
    assert (found.images.dtype, found.depth, found.channels) == (np.float32, 16, 3)
    np.testing.assert_allclose(found.images[..., 0], deep / 257, rtol=1e-6)
    assert len(np.unique(found.images)) == len(np.unique(deep))
    told = load(tmp_path / "deep.npy", reading=data.Reading((0, 4095))).train.images
    np.testing.assert_allclose(told[..., 0], deep * (255 / 4095), rtol=1e-6)
    with pytest.warns(UserWarning, match="--pixel-range 0 4095"):
        eight = load(tmp_path / "deep.npy", reading=data.Reading(depth=8)).train.images
    np.testing.assert_array_equal(eight[..., 0], deep >> 8)
    assert eight.dtype == np.uint8
    np.save(tmp_path / "float.npy", grey[0].astype(np.float32) / 255)
    found = load(tmp_path / "float.npy", reading=data.Reading((0, 1))).train.images
    np.testing.assert_allclose(found[..., 0], grey[0], atol=1e-4)


def test_arrays_keep_their_channels(grey, tmp_path):
    five = np.stack([np.roll(grey[0], i, axis=2) for i in range(5)], axis=-1)
    np.save(tmp_path / "five.npy", five)
    np.testing.assert_array_equal(load(tmp_path / "five.npy").train.images, five)
    for channels in (1, 3):
        with pytest.raises(data.DataError, match=f"have 5 channels, wanted: {channels}"):
            load(tmp_path / "five.npy", reading=data.Reading(channels=channels))
    np.save(tmp_path / "grey.npy", grey[0])
    one = load(tmp_path / "grey.npy", reading=data.Reading(channels=1)).train.images
    np.testing.assert_array_equal(one, grey[0][..., None])


def test_the_central_square_is_kept_and_resized(grey, tmp_path):
    wide = np.pad(grey[0][:4], ((0, 0), (0, 0), (3, 3)))[..., None].repeat(3, axis=-1)
    np.save(tmp_path / "wide.npy", wide)
    found = load(tmp_path / "wide.npy").train.images
    np.testing.assert_array_equal(found[..., 0], grey[0][:4])
    assert load(tmp_path / "wide.npy", image_size=8).train.images.shape == (4, 8, 8, 3)
    np.save(tmp_path / "large.npy", np.zeros((2, 70, 80), np.uint8))
    assert load(tmp_path / "large.npy").train.image_size == 224


def test_other_pixels_are_another_set(grey, tmp_path):
    path = tmp_path / "grey.npy"
    np.save(path, grey[0])
    first = load(path).train.fingerprint()
    assert load(path).train.fingerprint() == first
    np.save(path, grey[0] + np.uint8(1))
    assert load(path).train.fingerprint() != first


@pytest.mark.parametrize(
    "arrays, words",
    [
        (dict(images=np.zeros((4, 8, 8, 17), np.uint8)), r"1 to 16\), of numbers. .*8, 8, 17\)"),
        (dict(images=np.zeros((4, 8), np.uint8)), r"Received: uint8 \(4, 8\)"),
        (dict(images=np.zeros((4, 8, 8), complex)), "Received: complex128"),
        (dict(images=np.zeros((1, 8, 8), np.uint8)), "at least 2 images"),
        (dict(images=np.zeros((4, 0, 8), np.uint8)), "at least 2 images"),
        (dict(images=np.zeros((4, 8, 8))), "float64: say which pixels are black and white"),
        (dict(images=np.array([None] * 4)), "cannot be read as NumPy's"),
        (dict(pictures=np.zeros((4, 8, 8), np.uint8)), "Received: pictures"),
        (dict(images=np.zeros((4, 8, 8), np.uint8), labels=np.arange(3)), "4 images, but 3 labels"),
        (dict(images=np.zeros((4, 8, 8), np.uint8), labels=np.ones(4)), "should be integers"),
    ],
)
def test_what_is_no_array_of_images_is_refused_in_a_line(arrays, words, tmp_path):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(data.DataError, match=words) as refusal:
        load(tmp_path / "bad.npz")
    assert len(str(refusal.value).splitlines()) == 1


def test_an_array_by_the_other_kind_s_name_is_refused_in_a_line(grey, tmp_path):
    for save, suffix in ((np.save, "npz"), (np.savez, "npy")):
        with open(tmp_path / f"bad.{suffix}", "wb") as file:
            save(file, grey[0])
        with pytest.raises(data.DataError, match=r"cannot be read as .*: it holds") as refusal:
            load(tmp_path / f"bad.{suffix}")
        assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_a_damaged_file_is_refused_in_a_line(suffix, grey, tmp_path):
    path = tmp_path / f"bad.{suffix}"
    if suffix == "npy":
        np.save(path, grey[0])
    else:
        np.savez_compressed(path, images=grey[0])
    whole = path.read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2], bytes(400) + whole[400:]):
        path.write_bytes(content)
        with pytest.raises(data.DataError, match="cannot be read") as refusal:
            load(path)
        assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.slow
def test_every_command_takes_it(grey, tmp_path, capsys):
    path, run, exported = tmp_path / "grey.npz", tmp_path / "run", tmp_path / "exported"
    np.savez(path, images=grey[0], labels=grey[1])
    small = "--encoder resnet10 --width 4 --batch-size 24 --epochs 1 --queue-size 48 --clusters 3"
    line = ["--dataset", f"array:{path}", *small.split(), "--run-dir", str(run)]
    assert train.main(line) == 0
    assert evaluate.main([str(run), "--no-baselines"]) == 0
    assert export.main([str(run), "--output", str(exported)]) == 0
    out = tmp_path / "out.npz"
    assert embed.main([str(exported), f"array:{path}", "--output", str(out)]) == 0
    with np.load(out) as file:
        assert file["embeddings"].shape == (18, 32)  # the test split
    np.savez(path, images=grey[0][::-1], labels=grey[1])
    (run / "summary.json").unlink()
    assert train.main([*line, "--resume"]) == 2
    assert "has changed since the run was trained" in capsys.readouterr().err
