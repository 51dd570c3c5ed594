"""What the numbers in files mean, and how many of them a file may hold."""

import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from cueco_tf import data
from cueco_tf.data.image_files import central_crop, examine
from cueco_tf.data.reading import Reading
from cueco_tf.data.splits import DataError
from cueco_tf.settings.fields import ConfigError
from cueco_tf.settings.run import RunConfig

RAMP = np.add.outer(np.arange(16), np.arange(16)) / 30  # 0 to 1


def save(path, pixels):
    Image.fromarray(pixels).save(path)
    return path


def seen(path, **reading):
    return central_crop(path, 16, 1.0, Reading(**reading))[..., 0].astype(int)


WHOLE = np.round(255 * RAMP).astype(int)


@pytest.mark.parametrize(
    "name, pixels, pixel_range",
    [
        ("bits8.png", (255 * RAMP).round().astype(np.uint8), (0, 255)),
        ("bits4.png", (15 * RAMP).round().astype(np.uint8), (0, 15)),
        ("bits12.png", (4095 * RAMP).round().astype(np.uint16), (0, 4095)),
        ("bits8in16.png", (255 * RAMP).round().astype(np.uint16), (0, 255)),
        ("offset.tif", (1024 + 4000 * RAMP).round().astype(np.uint16), (1024, 5024)),
        ("signed.tif", (-1000 + 2000 * RAMP).round().astype(np.int32), (-1000, 1000)),
        ("float.tif", RAMP.astype(np.float32), (0, 1)),
    ],
)
def test_a_told_range_gives_the_whole_contrast(tmp_path, name, pixels, pixel_range):
    path = save(tmp_path / name, pixels)
    step = 255 / (pixel_range[1] - pixel_range[0])  # of what was rounded when it was written
    np.testing.assert_allclose(seen(path, pixel_range=pixel_range), WHOLE, atol=1 + step / 2)


def test_colours_and_transparency_are_scaled_alike(tmp_path):
    colours = np.stack([15 * RAMP, 15 * RAMP.T[::-1], 0 * RAMP], axis=-1).round().astype(np.uint8)
    path = save(tmp_path / "colours.png", colours)
    crop = central_crop(path, 16, 1.0, Reading((0, 15)))
    np.testing.assert_array_equal(crop, colours * 17)
    clear = np.dstack([colours, np.full((16, 16), 255, np.uint8)])
    clear[:8, :, 3] = 0
    crop = central_crop(save(tmp_path / "clear.png", clear), 16, 1.0, Reading((0, 15)))
    np.testing.assert_array_equal(crop[8:], colours[8:] * 17)
    assert crop[:7].min() == 255


@pytest.mark.parametrize("colour, channels", [(2, 3), (6, 4)], ids=["RGB", "RGBA"])
def test_colours_of_sixteen_bits_are_known_as_such(tmp_path, colour, channels):
    """Pillow writes none, so the file is made by hand."""
    pixels = np.repeat((4095 * RAMP).round().astype(">u2")[..., None], channels, axis=-1)
    pixels[..., 3:] = 0xFFFF
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", 16, 16, 16, colour, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    path = tmp_path / "deep.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
            for kind, content in parts
        )
    )
    look = examine(path)
    assert (look.bits, look.low) == (16, 0) and 3800 < look.high < 4096
    assert seen(path).max() < 16
    # Of each pixel Pillow keeps the upper eight bits: sixteen steps from black to white.
    np.testing.assert_allclose(seen(path, pixel_range=(0, 4095)), WHOLE, atol=18)


def test_files_of_eight_bits_keep_theirs_beside_deeper_ones(tmp_path):
    path = save(tmp_path / "plain.png", WHOLE.astype(np.uint8))
    np.testing.assert_array_equal(seen(path, pixel_range=(0, 4095)), WHOLE)


def test_pixels_beyond_sixteen_bits_are_not_cut_off_in_silence(tmp_path):
    path = save(tmp_path / "signed.tif", (-1000 + 2000 * RAMP).astype(np.int32))
    for look in (examine, lambda path: central_crop(path, 16)):
        with pytest.raises(ValueError, match="pixels from -1,000 to 1,000, beyond 16 bits"):
            look(path)


@pytest.mark.parametrize(
    "pixels, said, likely",
    [
        ((4095 * RAMP).astype(np.uint16), "16 bits in .* from 0 to 4,095", "0 4095"),
        ((255 * RAMP).astype(np.uint16), "16 bits in .* from 0 to 255", "0 255"),
        ((16383 * RAMP).astype(np.uint16), "16 bits in .* from 0 to 16,383", "0 16383"),
        (
            (32_000 + 2000 * RAMP).astype(np.uint16),
            "16 bits in .* from 32,000 to 34,000",
            "32000 34000",
        ),
        (
            (16 * RAMP).astype(np.uint8),
            "8 bits in .* from 0 to 16, a small part of 0 to 255",
            "0 31",
        ),
    ],
)
def test_a_set_that_uses_little_of_its_range_is_warned_of(tmp_path, pixels, said, likely):
    for i in range(3):
        save(tmp_path / f"{i}.png", pixels)
    with pytest.warns(UserWarning, match=rf"The 3 images of {said}.*--pixel-range {likely}$"):
        data.load(f"folder:{tmp_path}")
    told = Reading([float(value) for value in likely.split()])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = data.load(f"folder:{tmp_path}", reading=told)
    batch = next(iter(images.train.plain_batches())).numpy()
    assert batch.max() - batch.min() > 100


def test_a_told_range_that_does_not_fit_is_warned_of(tmp_path):
    for i in range(2):
        save(tmp_path / f"{i}.png", (255 * RAMP).astype(np.uint16))
    with pytest.warns(UserWarning, match="from 0 to 255, a small part of 0 to 4,095"):
        data.load(f"folder:{tmp_path}", reading=Reading((0, 4095)))


@pytest.mark.parametrize("told", [(5, 5), (5, 4), (0, np.inf), (np.nan, 1), (1, 2, 3)])
def test_ranges_that_are_none_are_refused(told):
    with pytest.raises(ValueError, match="--pixel-range should be two numbers, LOW below HIGH"):
        Reading(told)


def test_the_limit_of_pixels_holds_exactly_and_can_be_raised(tmp_path):
    former = Image.MAX_IMAGE_PIXELS
    path = tmp_path / "large.png"
    Image.new("L", (2000, 1000), 9).save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for look in (examine, lambda path, reading: central_crop(path, 8, 1.0, reading)):
            look(path, Reading(max_megapixels=2))
            with pytest.raises(ValueError, match=r"more than 1\.9 megapixels, the limit"):
                look(path, Reading(max_megapixels=1.9))
    huge = tmp_path / "huge.png"
    Image.new("1", (20_000, 20_000)).save(huge)
    assert examine(huge, Reading(max_megapixels=400)).width == 20_000
    with pytest.raises(ValueError, match="--max-megapixels should be positive"):
        Reading(max_megapixels=0)
    assert former == Image.MAX_IMAGE_PIXELS


def test_pillows_own_limit_is_put_back_whatever_threads_do(tmp_path):
    former = Image.MAX_IMAGE_PIXELS
    path = save(tmp_path / "a.png", WHOLE.astype(np.uint8))
    threads = [
        threading.Thread(target=lambda: [seen(path, max_megapixels=300) for _ in range(50)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert former == Image.MAX_IMAGE_PIXELS


def test_a_runs_own_settings_read_its_files(tmp_path):
    for i in range(3):
        save(tmp_path / f"{i}.png", (4095 * RAMP).astype(np.uint16))
    config = RunConfig.for_dataset(
        f"folder:{tmp_path}", pixel_range=(0, 4095), labels="none", max_megapixels=1e-4
    )
    with pytest.raises(DataError, match="No readable image"):
        data.load_for(config)
    images = data.load_for(config.replace(max_megapixels=1.0))
    assert next(iter(images.train.plain_batches())).numpy().max() > 200
    for name, value in (("labels", "none"), ("pixel_range", (0, 1))):
        option = name.replace("_", "-")
        with pytest.raises(ConfigError, match=f"--{option} should be left out: it is of --dataset"):
            RunConfig.for_dataset("digits", **{name: value})
