"""Images of any channels and depth: what is read is what was written."""

import io
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from cueco_tf import data
from cueco_tf.data.channels import as_picture, with_channels
from cueco_tf.data.image_files import central_crop, crop, examine
from cueco_tf.data.reading import Reading

SIDE = 16


@pytest.fixture(scope="module")
def five(digits):
    """uint16 `(12, 16, 16, 5)`: in each image five digits, of pixels that need all 16 bits."""
    chosen = digits.train.images[:60, ..., 0].astype(np.uint16).reshape(12, 5, SIDE, SIDE)
    return np.moveaxis(chosen * 257 - np.minimum(chosen, np.arange(SIDE, dtype=np.uint16)), 1, -1)


def save_pages(path, channels, **options):
    """The last axis of an array as gray pages."""
    first, *others = (
        Image.fromarray(np.ascontiguousarray(c)) for c in np.moveaxis(channels, -1, 0)
    )
    first.save(path, save_all=True, append_images=others, **options)
    return path


def whole(path, **reading):
    return central_crop(path, SIDE, 1.0, Reading(**reading))


def load(folder, image_size=SIDE, **reading):
    return data.load(f"folder:{folder}", image_size=image_size, reading=Reading(**reading))


def test_pages_tiffs_and_arrays_give_the_same_pixels(five, tmp_path):
    image = five[0]
    tifffile.imwrite(tmp_path / "planes.tif", np.moveaxis(image, -1, 0), planarconfig="separate")
    tifffile.imwrite(tmp_path / "pixels.tif", image, planarconfig="contig", bigtiff=True)
    np.save(tmp_path / "array.npy", image.astype(">u2"))
    save_pages(tmp_path / "pages.tif", image)
    save_pages(tmp_path / "packed.tif", image, compression="tiff_deflate")
    for path in tmp_path.iterdir():
        look = examine(path)
        assert look == (SIDE, SIDE, 16, image.min(), image.max(), 5, True), path
        deep = whole(path, channels=5, depth=16)
        assert deep.dtype == np.float32
        np.testing.assert_allclose(deep, image / 257, rtol=1e-6, err_msg=str(path))
        np.testing.assert_array_equal(whole(path, channels=5, depth=8), image >> 8)
        told = whole(path, channels=5, depth=16, pixel_range=(0, 50_000))
        np.testing.assert_allclose(told, np.minimum(image * (255 / 50_000), 255), rtol=1e-6)


def test_channels_are_cropped_each_by_itself(five, tmp_path):
    np.save(tmp_path / "array.npy", five[1])
    for box in np.array([[0, 0.25, 0.5, 0.75], [0, 0, 1, 1]]):
        found = crop(tmp_path / "array.npy", box, 6, Reading(channels=5, depth=16))
        top, left, bottom, right = box * SIDE
        for channel in range(5):
            alone = Image.fromarray(five[1, ..., channel].astype(np.float32) / np.float32(257))
            expected = alone.resize((6, 6), 2, (left, top, right, bottom), reducing_gap=2.0)
            np.testing.assert_allclose(found[..., channel], expected, atol=1e-4)


def test_pictures_give_the_channels_that_are_asked_for(five, tmp_path):
    rgb = (five[0, ..., :3] >> 8).astype(np.uint8)
    alpha = np.arange(256, dtype=np.uint8).reshape(SIDE, SIDE)
    Image.fromarray(rgb).save(tmp_path / "rgb.png")
    Image.fromarray(np.dstack([rgb, alpha])).save(tmp_path / "rgba.png")
    luma = np.asarray(Image.fromarray(rgb).convert("L"))[..., None]
    np.testing.assert_array_equal(whole(tmp_path / "rgb.png"), rgb)
    np.testing.assert_array_equal(whole(tmp_path / "rgb.png", channels=1), luma)
    np.testing.assert_array_equal(with_channels(rgb, 1), luma)
    np.testing.assert_allclose(with_channels(rgb.astype(np.float32), 1), luma, atol=0.51)
    np.testing.assert_array_equal(whole(tmp_path / "rgb.png", channels=4)[..., 3], 255)
    np.testing.assert_array_equal(whole(tmp_path / "rgba.png", channels=4)[..., 3], alpha)
    np.testing.assert_array_equal(whole(tmp_path / "rgba.png", channels=2)[..., 1], alpha)
    on_white = rgb * (alpha[..., None] / 255) + 255 - alpha[..., None]
    np.testing.assert_allclose(whole(tmp_path / "rgba.png"), on_white, atol=1)
    deep = whole(tmp_path / "rgb.png", depth=16)
    assert deep.dtype == np.float32
    np.testing.assert_array_equal(deep, rgb)
    with pytest.raises(ValueError, match="colours, channels wanted: 5"):
        whole(tmp_path / "rgb.png", channels=5)


def test_gray_of_sixteen_bits_and_colours_of_a_tiff_keep_them(five, tmp_path):
    Image.fromarray(five[0, ..., 0]).save(tmp_path / "gray.png")
    for channels in (1, 3):
        gray = whole(tmp_path / "gray.png", channels=channels, depth=16)
        expected = np.repeat(five[0, ..., :1] / 257, channels, axis=-1)
        np.testing.assert_allclose(gray, expected, rtol=1e-6)
    tifffile.imwrite(tmp_path / "rgb.tif", five[0, ..., :3], photometric="rgb")
    np.testing.assert_allclose(
        whole(tmp_path / "rgb.tif", depth=16), five[0, ..., :3] / 257, rtol=1e-6
    )
    np.testing.assert_array_equal(whole(tmp_path / "rgb.tif"), five[0, ..., :3] >> 8)
    infrared = (five[0, ..., :4] >> 8).astype(np.uint8)
    how = dict(photometric="rgb", extrasamples=["unspecified"])
    tifffile.imwrite(tmp_path / "infrared.tif", infrared, **how)
    np.testing.assert_array_equal(whole(tmp_path / "infrared.tif", channels=4), infrared)
    np.testing.assert_array_equal(whole(tmp_path / "infrared.tif"), infrared[..., :3])


def test_reduced_copies_and_pages_in_colour_are_no_channels(five, tmp_path):
    gray = (five[0, ..., 0] >> 8).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "overviews.tif") as file:
        file.write(gray)
        file.write(gray[::2, ::2], subfiletype=1)
    np.testing.assert_array_equal(whole(tmp_path / "overviews.tif", channels=1)[..., 0], gray)
    pages = [Image.fromarray(np.repeat(page[..., None], 3, axis=-1)) for page in (gray, gray.T)]
    pages[0].save(tmp_path / "scan.tif", save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal(whole(tmp_path / "scan.tif"), np.asarray(pages[0]))


def test_a_set_has_the_channels_and_the_depth_of_its_images(five, tmp_path, capsys):
    for i, image in enumerate(five):
        np.save(tmp_path / f"{i:02d}.npy", image)
    split = load(tmp_path).train
    assert (split.channels, split.depth, len(split)) == (5, 16, 12)
    assert "Pixels: 5 channels of 16 bits, float32" in capsys.readouterr().out
    plain = np.concatenate(list(split.plain_batches().as_numpy_iterator()))
    expected = np.stack([central_crop(path, SIDE, reading=split.reading) for path in split.paths])
    np.testing.assert_array_equal(plain, expected)
    views, _ = next(iter(split.training_batches(4, data.TwoViews(gray=0, jitter=(0,) * 4), 0, 0)))
    assert [view.shape for view in views] == [(4, SIDE, SIDE, 5)] * 2
    eight = load(tmp_path, depth=8).train
    assert (eight.channels, eight.depth) == (5, 8)

    for i in range(3):
        Image.fromarray((five[i, ..., 0] >> 8).astype(np.uint8)).save(tmp_path / f"gray{i}.png")
    words = r"5 channels, such as 00\.npy; 3 of gray or colour, such as gray0\.png\. Say with --ch"
    with pytest.raises(data.DataError, match=f"differ in their channels: 12 of {words}") as refusal:
        load(tmp_path)
    assert len(str(refusal.value).splitlines()) == 1
    assert len(load(tmp_path, channels=5).train) == 12
    one = load(tmp_path, channels=1).train
    assert (len(one), one.channels, one.depth) == (3, 1, 8)
    assert "12 (00.npy: 5 channels, wanted: 1, " in capsys.readouterr().out


def test_an_image_in_memory_is_read_like_its_file(five, tmp_path):
    tifffile.imwrite(tmp_path / "pixels.tif", five[0], planarconfig="contig")
    np.save(tmp_path / "array.npy", five[0])
    save_pages(tmp_path / "pages.tif", five[0])
    for path in tmp_path.iterdir():
        found = whole(io.BytesIO(path.read_bytes()), channels=5, depth=16)
        np.testing.assert_array_equal(found, whole(path, channels=5, depth=16))


def _bad(path):
    gray = Image.fromarray(np.zeros((8, 8), np.uint8))
    np.save(path / "rank.npy", np.zeros((2, 8, 8, 3), np.uint8))
    np.save(path / "type.npy", np.zeros((8, 8), complex))
    np.save(path / "object.npy", np.array([None, 1]))
    np.save(path / "float.npy", np.zeros((8, 8, 2), np.float32))
    np.save(path / "first.npy", np.zeros((5, 20, 20), np.uint8))
    np.save(path / "many.npy", np.zeros((20, 20, 17), np.uint8))
    np.save(path / "empty.npy", np.zeros((0, 8, 5), np.uint8))
    (path / "cut.npy").write_bytes((path / "many.npy").read_bytes()[:300])
    gray.save(path / "sizes.tif", save_all=True, append_images=[gray.resize((9, 9))])
    save_pages(path / "many.tif", np.zeros((8, 8, 17), np.uint8))
    with tifffile.TiffWriter(path / "deep.tif") as file:
        for side in (8, 9):
            file.write(np.zeros((side, side, 5), np.uint16), planarconfig="contig")
    np.save(path / "large.npy", np.zeros((1100, 1000), np.uint8))


BAD = {
    "rank.npy": r"uint8 of shape \(2, 8, 8, 3\), where numbers of shape \(height, width\)",
    "type.npy": "complex128 of shape",
    "object.npy": "Python objects in dtype",
    "float.npy": "float32 pixels, whose black and white .* --pixel-range",
    "first.npy": r"put channels last, by numpy\.moveaxis\(image, 0, -1\)",
    "many.npy": "17 channels: there should be 1 to 16",
    "empty.npy": r"uint8 of shape \(0, 8, 5\)",
    "cut.npy": "greater than file size",
    "sizes.tif": "pages are of different sizes, 8x8, 9x9: they are no channels",
    "many.tif": "17 channels: there should be 1 to 16",
    "deep.tif": "pages are of different sizes, 8x8x5, 9x9x5",
    "large.npy": "more than 1 megapixels",
}


def test_what_is_no_image_is_left_with_its_reason(tmp_path):
    _bad(tmp_path)
    for name, words in BAD.items():
        with pytest.raises(ValueError, match=words):
            examine(tmp_path / name, Reading(max_megapixels=1))
    with pytest.raises(
        data.DataError, match=r"No readable image .* The first that is unreadable: "
    ):
        load(tmp_path, max_megapixels=1)


def test_colours_of_sixteen_bits_are_kept_beside_gray_ones(five, tmp_path, monkeypatch):
    for i, image in enumerate(five[:4]):
        Image.fromarray(image[..., 0]).save(tmp_path / f"gray{i}.png")
    tifffile.imwrite(tmp_path / "rgb.tif", five[0, ..., :3], photometric="rgb")
    split = load(tmp_path).train
    assert (split.channels, split.depth, len(split)) == (3, 16, 5)
    (plain,) = split.plain_batches()
    assert plain[-1].shape == (SIDE, SIDE, 3)
    assert load(tmp_path, depth=8).train.depth == 8
    monkeypatch.setitem(sys.modules, "tifffile", None)
    assert len(load(tmp_path, depth=8).train) == 5
    assert len(load(tmp_path).train) == 4  # told when it is loaded, and not an epoch later


def test_a_tiff_beyond_pillow_says_what_reads_it(five, tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", five[0], planarconfig="contig")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(ValueError, match="pip install tifffile"):
        examine(tmp_path / "a.tif")


@pytest.mark.parametrize("channels, shown", [(1, (0, 0, 0)), (2, (0, 1, 1)), (5, (0, 1, 2))])
def test_any_channels_can_be_looked_at(channels, shown, five):
    pixels = five[..., :channels] / np.float32(257)
    picture = as_picture(pixels)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, np.round(pixels[..., list(shown)]))
