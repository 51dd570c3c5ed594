"""Image files as a person sees them: decoded upright in RGB, cropped. No TensorFlow.

Training, evaluation and the exported encoder all read files through this one module, so the same
file gives the same pixels everywhere. Pillow reads every common format, scales a JPEG down while
it decodes it, crops and resizes in one pass, and lets other threads run meanwhile.
"""

import contextlib
import dataclasses
import math
import os
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cueco_tf.data.formats import open_image
from cueco_tf.data.members import state
from cueco_tf.data.pillow_limit import PILLOWS_LIMIT
from cueco_tf.data.pixels import to_eight_bits
from cueco_tf.settings.run_fields import RunFields

# Else Pillow gives each image's memory back to the system, which takes as long as to resize it.
Image.core.set_blocks_max(16)
WORKERS = min(32, 2 * (os.cpu_count() or 1))
EVALUATION_CROP = 0.875  # the share of the shorter side in the usual central test crop, 224 / 256
_ORIENTATION = 0x0112  # the EXIF tag; 5 to 8 stand for images on their side


@dataclasses.dataclass(frozen=True)
class Reading:
    """How files become pixels: the same in training, evaluation and embedding.

    Args:
        pixel_range: `(LOW, HIGH)`, the pixels that are black and white in the files, or None for 0
            and the largest number of 8 or 16 bits. Files of 8 bits keep theirs where HIGH is above
            255.
        max_megapixels: float > 0: larger images are not opened.

    Raises:
        ValueError: for a range that is empty or not finite, or no positive limit.
    """

    pixel_range: tuple | None = None
    max_megapixels: float = RunFields.max_megapixels

    def __post_init__(self):
        if self.pixel_range is not None:
            object.__setattr__(self, "pixel_range", tuple(float(v) for v in self.pixel_range))
            if not (len(self.pixel_range) == 2 and -math.inf < self.low < self.high < math.inf):
                raise ValueError(
                    f"--pixel-range should be two numbers, LOW below HIGH. "
                    f"Received: {self.pixel_range}"
                )
        if not 0 < self.max_megapixels < math.inf:
            raise ValueError(
                f"--max-megapixels should be positive. Received: {self.max_megapixels}"
            )

    @property
    def low(self):
        """What is black."""
        return self.pixel_range[0]

    @property
    def high(self):
        """What is white."""
        return self.pixel_range[1]

    def range_of(self, bits):
        """The `(LOW, HIGH)` that holds for files of so many bits, or None for all of these."""
        return None if bits == 8 and self.pixel_range and self.high > 255 else self.pixel_range


AS_STORED = Reading()


class Look(NamedTuple):
    """What a first look at an image tells: its size as a person sees it, the bits of its pixels
    (8, 16 or 32) and the least and the largest of them."""

    width: int
    height: int
    bits: int
    low: float
    high: float


def examine(path, reading=AS_STORED):
    """Looks into an image: decodes it, a JPEG at an eighth of its size.

    Returns:
        `Look`.

    Raises:
        Exception: of any kind, for a file that is no readable image.
    """
    with _opened(path, reading) as (image, bits):
        width, height = _upright_size(image)
        image.draft("RGB", (1, 1))
        image.load()
        low, high = _extremes(image, bits)
        _check_range(image, low, high, reading)
        return Look(width, height, bits, low, high)


def reason(error):
    """An exception as one line, for a list of skipped files."""
    if isinstance(error, ValueError):
        return str(error).partition("\n")[0]
    return f"{type(error).__name__}: {error}".splitlines()[0]


def crop(path, box, size, reading=AS_STORED):
    """Decodes one image and cuts a box (top, left, bottom, right; parts of its size) out of it.

    Returns:
        uint8 `(size, size, 3)`.
    """
    with _opened(path, reading) as (image, bits):
        return _cut(image, bits, box, size, reading)


def central_boxes(aspects, share=EVALUATION_CROP):
    """The central square of images whose heights over widths are given.

    Args:
        aspects: `(n,)`.
        share: float in (0, 1], of the shorter side. Defaults to 0.875.

    Returns:
        float32 `(n, 4)` for `crop`.
    """
    aspects = np.asarray(aspects, np.float32)
    height, width = np.minimum(1.0, 1.0 / aspects) * share, np.minimum(1.0, aspects) * share
    boxes = (0.5 - height / 2, 0.5 - width / 2, 0.5 + height / 2, 0.5 + width / 2)
    return np.stack(boxes, 1).astype(np.float32)


def central_crop(path, size, share=EVALUATION_CROP, reading=AS_STORED):
    """Decodes one image and cuts its central square out: uint8 `(size, size, 3)`.

    Raises:
        Exception: of any kind, for a file that is no readable image.
    """
    with _opened(path, reading) as (image, bits):
        width, height = _upright_size(image)
        return _cut(image, bits, central_boxes([height / width], share)[0], size, reading)


@contextlib.contextmanager
def _opened(path, reading):
    """The image in a file, as `Image.open` opens it, held to the limit of pixels, and the bits of
    its pixels."""
    with PILLOWS_LIMIT.of(int(reading.max_megapixels * 1e6)):
        try:
            with open_image(path) as image:
                yield image, _bits(image)
        except Image.DecompressionBombError as error:
            raise ValueError(
                f"more than {reading.max_megapixels:g} megapixels, the limit of --max-megapixels"
            ) from error
        except UnidentifiedImageError as error:
            if state(path).size == 0:
                raise ValueError("the file is empty") from error
            raise UnidentifiedImageError(f"cannot identify image file {str(path)!r}") from error


def _upright_size(image):
    width, height = image.size
    return (height, width) if image.getexif().get(_ORIENTATION, 1) >= 5 else (width, height)


def _cut(image, bits, box, size, reading):
    # A JPEG decodes to an eighth, a quarter or half its size where the box then still has enough
    # pixels.
    top, left, bottom, right = np.clip(np.asarray(box, float), 0, 1)
    smallest = min(bottom - top, right - left)
    image.draft("RGB", (int(size / smallest) + 1,) * 2)
    if image.getexif().get(_ORIENTATION, 1) != 1:  # else this would copy it
        image = ImageOps.exif_transpose(image)
    image = _to_rgb(image, bits, reading)
    height, width = image.height, image.width
    image = image.resize(
        (size, size),
        Image.Resampling.BILINEAR,
        box=(left * width, top * height, right * width, bottom * height),
        reducing_gap=2.0,
    )
    return np.asarray(image)


def _is_deep(image):
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _bits(image):
    """The bits of a file's pixels, of an image that is not yet loaded."""
    if _is_deep(image):
        return 32 if image.mode == "F" else 16
    # Of colours in 16 bits Pillow keeps the upper eight; what it reads stands in its plan.
    return 16 if any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())) else 8


def _extremes(image, bits):
    """The least and the largest pixel of a file, transparency left out."""
    if _is_deep(image):
        pixels = np.asarray(image)
        return float(np.nanmin(pixels)), float(np.nanmax(pixels))
    if image.mode in ("P", "PA", "1"):  # numbers of colours
        return 0, 255
    bands = image.getextrema()
    bands = [bands] if isinstance(bands[0], (int, float)) else bands
    colours = [pair for name, pair in zip(image.getbands(), bands, strict=True) if name not in "Aa"]
    scale = 257 if bits == 16 else 1
    return scale * min(low for low, _ in colours), scale * max(high for _, high in colours)


def _to_rgb(image, bits, reading):
    """Eight bits a channel; what is transparent shows white, as on a page."""
    pixel_range = reading.range_of(bits)
    if _is_deep(image):
        pixels = np.asarray(image)
        _check_range(image, pixels.min(), pixels.max(), reading)
        image, pixel_range = Image.fromarray(to_eight_bits(pixels, pixel_range)), None
    clear = image.has_transparency_data
    if clear or image.mode != "RGB":  # else this would copy it
        image = image.convert("RGBA" if clear else "RGB")
    if pixel_range is not None:
        stored = np.arange(256) * (257 if bits == 16 else 1)
        table = to_eight_bits(stored, pixel_range).tolist()
        image = image.point(table * 3 + list(range(256)) * clear)
    if clear:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image


def _check_range(image, low, high, reading):
    """Raises ValueError for pixels of which nobody knows which are black and white."""
    if reading.pixel_range is None and image.mode == "F":
        raise ValueError(
            "floating-point pixels, whose black and white are not known: say them with "
            "--pixel-range"
        )
    if reading.pixel_range is None and _is_deep(image) and not 0 <= low <= high <= 0xFFFF:
        raise ValueError(
            f"pixels from {low:,.0f} to {high:,.0f}, beyond 16 bits: say which are black and white "
            f"with --pixel-range"
        )
