"""Pictures as a person sees them, gray or in colours: upright, what is clear on white.

Pillow reads every common format, scales a JPEG down while it decodes it, crops and resizes in one
pass, and lets other threads run meanwhile. No TensorFlow.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from cueco_tf.data.channels import RGB, with_channels
from cueco_tf.data.pixels import to_eight_bits, to_pixels

_ORIENTATION = 0x0112  # the EXIF tag; 5 to 8 stand for images on their side
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # by channels


class Look(NamedTuple):
    """What a first look at an image tells: its size as a person sees it, the bits of its pixels
    (8, 16 or 32) and the least and the largest of them, its channels, three for gray ones and
    colours, and whether more than 8 bits can be had of it."""

    width: int
    height: int
    bits: int
    low: float
    high: float
    channels: int
    deep: bool


class Photo:
    """A picture that Pillow has opened.

    Args:
        image: `PIL.Image.Image`, not yet loaded.
        reading: `Reading`.

    Raises:
        ValueError: for a number of channels that no picture has.
    """

    def __init__(self, image, reading):
        if reading.channels is not None and reading.channels not in _MODES:
            raise ValueError(f"gray or colours, channels wanted: {reading.channels}")
        self._image, self._reading, self._bits = image, reading, _bits(image)

    @property
    def size(self):
        """Width and height as a person sees it."""
        width, height = self._image.size
        lies = self._image.getexif().get(_ORIENTATION, 1) >= 5
        return (height, width) if lies else (width, height)

    def look(self):
        """Decodes it, a JPEG at an eighth of its size, and says what it holds: `Look`."""
        size, image = self.size, self._image
        image.draft("RGB", (1, 1))
        image.load()
        low, high = _extremes(image, self._bits)
        self._check_range(image, low, high)
        return Look(*size, self._bits, low, high, RGB, _is_deep(image))

    def cut(self, box, size):
        """Cuts a box (top, left, bottom, right; parts of its size) out.

        Returns:
            `(size, size, channels)`.
        """
        # A JPEG decodes to an eighth, a quarter or half its size where the box then still has
        # enough pixels.
        smallest = min(box[2] - box[0], box[3] - box[1])
        self._image.draft("RGB", (int(size / smallest) + 1,) * 2)
        image, reading = self._image, self._reading
        if image.getexif().get(_ORIENTATION, 1) != 1:  # else this would copy it
            image = ImageOps.exif_transpose(image)
        if not (_is_deep(image) and reading.depth == 16):
            return cut_out(self._in_eight_bits(image), box, size).astype(reading.dtype, copy=False)
        pixels = np.asarray(image)
        self._check_range(image, pixels.min(), pixels.max())
        gray = Image.fromarray(to_pixels(pixels, reading.range_of(self._bits), reading.dtype))
        crop = cut_out(gray, box, size)
        if _MODES[reading.channels].endswith("A"):
            opaque = np.full_like(crop, 255)
            return np.concatenate([with_channels(crop, reading.channels - 1), opaque], axis=-1)
        return with_channels(crop, reading.channels)

    def _in_eight_bits(self, image):
        """Eight bits a channel; what is clear shows white, as on a page, unless it is asked for."""
        pixel_range = self._reading.range_of(self._bits)
        if _is_deep(image):
            pixels = np.asarray(image)
            self._check_range(image, pixels.min(), pixels.max())
            image, pixel_range = Image.fromarray(to_eight_bits(pixels, pixel_range)), None
        mode = _MODES[self._reading.channels]
        clear = image.has_transparency_data or mode.endswith("A")
        if clear or image.mode != "RGB":  # else this would copy it
            image = image.convert("RGBA" if clear else "RGB")
        if pixel_range is not None:
            stored = np.arange(256) * (257 if self._bits == 16 else 1)
            table = to_eight_bits(stored, pixel_range).tolist()
            image = image.point(table * 3 + list(range(256)) * clear)
        if clear and not mode.endswith("A"):
            page = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(page, image).convert("RGB")
        return image if image.mode == mode else image.convert(mode)

    def _check_range(self, image, low, high):
        """Raises ValueError for pixels of which nobody knows which are black and white."""
        if self._reading.pixel_range is None and image.mode == "F":
            raise ValueError(
                "floating-point pixels, whose black and white are not known: say them with "
                "--pixel-range"
            )
        within = 0 <= low <= high <= 0xFFFF
        if self._reading.pixel_range is None and _is_deep(image) and not within:
            raise ValueError(
                f"pixels from {low:,.0f} to {high:,.0f}, beyond 16 bits: say which are black and "
                f"white with --pixel-range"
            )


def cut_out(image, box, size):
    """Cuts a box (top, left, bottom, right; parts of its size) out of Pillow's image.

    Returns:
        `(size, size, channels)`.
    """
    height, width = image.height, image.width
    top, left, bottom, right = np.clip(np.asarray(box, float), 0, 1)
    crop = image.resize(
        (size, size),
        Image.Resampling.BILINEAR,
        box=(left * width, top * height, right * width, bottom * height),
        reducing_gap=2.0,
    )
    return np.asarray(crop).reshape(size, size, -1)


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
