"""A set of five channels and sixteen bits, from its files to embeddings."""

import json

import numpy as np
import onnx
import pytest
from PIL import Image

from cueco_tf import data, train
from cueco_tf.evaluation.networks import features
from cueco_tf.export import onnx_precision
from cueco_tf.export.reading import Encoder
from cueco_tf.running.baselines import baselines
from cueco_tf.running.loading import load_run
from cueco_tf.running.run_folder import RunFolder
from pipelines import embed, export
from pipelines.reporting.thumbnails import NamedPictures, SplitPictures, read

SIDE, CLASSES, EACH = 16, 3, 20


@pytest.fixture(scope="module")
def photos(digits, tmp_path_factory):
    """TIFFs of five gray pages of sixteen bits, each page another image of a digit."""
    folder = tmp_path_factory.mktemp("photos")
    for digit in range(CLASSES):
        (folder / str(digit)).mkdir()
        chosen = digits.train.images[digits.train.labels == digit][: 5 * EACH, ..., 0]
        for i, pages in enumerate(chosen.reshape(EACH, 5, SIDE, SIDE).astype(np.uint16) * 257):
            first, *others = map(Image.fromarray, pages)
            path = folder / str(digit) / f"{i:02d}.tif"
            first.save(path, save_all=True, append_images=others)
    return folder


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
    path = tmp_path_factory.mktemp("channels") / "run"
    small = "--encoder resnet10 --width 4 --batch-size 24 --epochs 2 --queue-size 48 --clusters 3"
    line = ["--dataset", f"folder:{photos}", *small.split(), "--run-dir", str(path)]
    assert train.main(line) == 0
    return path


@pytest.fixture(scope="module")
def exported(run):
    path = run.parent / "exported"
    assert export.main([str(run), "--output", str(path)]) == 0
    return path


@pytest.mark.slow
def test_a_run_keeps_channels_and_depth(run, photos):
    saved = json.loads((run / "config.json").read_text())
    assert (saved["channels"], saved["depth"], saved["gray"]) == (5, 16, 0.0)
    assert saved["jitter"] == [0.4, 0.4, 0.0, 0.0]
    loaded = load_run(run, weights_only=True)
    for network in (loaded.model.encoder, *baselines(loaded, RunFolder(run)).values()):
        assert network.input_shape == (None, SIDE, SIDE, 5)
    assert train.main(["--run-dir", str(run), "--resume", "--gray", "0.2"]) == 0  # as it was told


@pytest.mark.slow
def test_an_export_takes_the_same_pixels(run, photos, exported, tmp_path, capsys):
    manifest = json.loads((exported / "manifest.json").read_text())
    assert manifest["input"]["shape"] == ["n", SIDE, SIDE, 5]
    assert (manifest["input"]["dtype"], manifest["input"]["range"]) == ("float32", [0, 255])
    out = tmp_path / "out.npz"
    assert embed.main([str(exported), str(photos), "--output", str(out)]) == 0
    loaded = load_run(run, weights_only=True)
    images = data.load(f"folder:{photos}", image_size=SIDE, labels="none").train
    with np.load(out) as file:
        expected = features(loaded.model.encoder, images)
        np.testing.assert_allclose(file["embeddings"], expected, rtol=1e-4, atol=1e-5)

    pixels = np.concatenate(list(images.plain_batches().as_numpy_iterator()))
    np.save(tmp_path / "pixels.npy", pixels)
    np.save(tmp_path / "raw.npy", np.round(pixels * 257).astype(np.uint16))
    for name in ("pixels", "raw"):
        line = [
            str(exported),
            str(tmp_path / f"{name}.npy"),
            "--output",
            str(tmp_path / f"{name}.npz"),
        ]
        assert embed.main(line) == 0
        with np.load(tmp_path / f"{name}.npz") as file:
            np.testing.assert_allclose(file["embeddings"], expected, rtol=1e-3, atol=1e-3)

    Image.fromarray(np.zeros((SIDE, SIDE), np.uint8)).save(tmp_path / "gray.png")
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'gray.png'}\n")
    np.save(tmp_path / "three.npy", pixels[..., :3])
    for source, words in (
        ("list.txt", "gray or colours, channels wanted: 5"),
        ("three.npy", "float32 or uint16 images of shape (n, 16, 16, 5), as the encoder takes"),
    ):
        capsys.readouterr()
        line = [str(exported), str(tmp_path / source), "--output", str(tmp_path / "no.npz")]
        assert embed.main(line) == 2
        assert words in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "no.npz").exists()
    half = onnx_precision.reduce(onnx.load(exported / "encoder.onnx"), "float16", pixels)
    found = Encoder(half.SerializeToString()).encode(pixels).embeddings
    np.testing.assert_allclose(found, expected, rtol=0.05, atol=0.02)


@pytest.mark.slow
def test_pictures_show_the_first_three_channels(run, photos):
    split = data.load(f"folder:{photos}", image_size=SIDE, labels="none").train
    reading = json.loads((run / "config.json").read_text())
    reading = {name: reading[name] for name in ("pixel_range", "channels", "depth")}
    pages = np.stack(
        [np.asarray(image) for image in _pages(split.paths[0])], axis=-1
    )  # (16, 16, 5)
    named = NamedPictures(split.paths, reading)
    np.testing.assert_array_equal(named.square(0, SIDE), pages[..., :3] // 257)
    shown = read(SplitPictures(split), [0], 10**6)[0]
    first = next(iter(split.plain_batches(1)))[0].numpy()
    np.testing.assert_array_equal(shown, np.round(first[..., :3]))


def _pages(path):
    with Image.open(path) as image:
        for number in range(image.n_frames):
            image.seek(number)
            yield image.copy()
