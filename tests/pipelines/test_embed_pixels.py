"""What pixels are taken for when they are embedded: ranges, numbers that are none, sizes."""

import json
import shutil

import numpy as np
import pytest
from embed_inputs import read, run
from PIL import Image

from cueco_tf.data.reading import Reading
from cueco_tf.embedding import work
from cueco_tf.embedding.embeddings_file import read_file
from cueco_tf.embedding.shards import identity
from cueco_tf.embedding.sources import open_source
from cueco_tf.export.reading import read_export
from pipelines import search


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


def test_the_limit_of_pixels_can_be_raised(digits_export, tmp_path, capsys):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "large.png")
    (tmp_path / "list.txt").write_text(str(tmp_path / "large.png"))
    arguments = (digits_export, tmp_path / "list.txt", "--output", tmp_path / "out.npz")
    assert run(*arguments) == 2
    assert "more than 180 megapixels, the limit of --max-megapixels" in capsys.readouterr().err
    assert run(*arguments, "--max-megapixels", 400) == 0
