"""What the numbers in image files mean: which are black and white. No TensorFlow."""

import dataclasses
import warnings

import numpy as np

_SMALL_PART = 0.25  # 12 and 14 bits in files of 16, digits of 0 to 16 in files of 8


def to_eight_bits(values, pixel_range):
    """Pixels as uint8, from LOW (black) to HIGH (white); what lies beyond is cut off.

    Args:
        values: array of numbers of any type; NaN is black.
        pixel_range: `(LOW, HIGH)`, or None for 16 bits, of which the upper eight are kept.
    """
    if pixel_range is None:
        return (np.asarray(values).astype(np.uint16) >> 8).astype(np.uint8)
    low, high = pixel_range
    values = np.nan_to_num(np.asarray(values, np.float32), nan=low)
    return np.clip(np.round((values - low) * (255 / (high - low))), 0, 255).astype(np.uint8)


def to_pixels(values, pixel_range, dtype):
    """Pixels from 0 (black) to 255 (white); what lies beyond is cut off.

    Args:
        values: array of numbers of any type; NaN is black.
        pixel_range: `(LOW, HIGH)`, or None for 0 and the largest number of 8 or 16 bits.
        dtype: uint8, or float32 to keep what there is beyond 8 bits.
    """
    values = np.asarray(values)
    if dtype == np.uint8:
        as_it_is = values.dtype == np.uint8 and pixel_range is None
        return values if as_it_is else to_eight_bits(values, pixel_range)
    low, high = pixel_range or (0, 0xFF if values.dtype == np.uint8 else 0xFFFF)
    values = np.nan_to_num(values.astype(np.float32), nan=low)
    return np.clip((values - np.float32(low)) * np.float32(255 / (high - low)), 0, 255)


@dataclasses.dataclass
class Used:
    """The part of their range that the pixels of a set use, file after file.

    `bits` is 8 or 16, or 32 for files whose range has to be told.
    """

    bits: int
    count: int = 0
    low: float = np.inf
    high: float = -np.inf

    def add(self, low, high):
        """Takes a file's least and largest pixel into account."""
        self.count += 1
        self.low, self.high = min(self.low, low), max(self.high, high)

    def warning(self, name, pixel_range=None):
        """A sentence where it is a small part, else None.

        Args:
            name: of the set.
            pixel_range: `(LOW, HIGH)` that was told, or None.
        """
        least, most = pixel_range or (0, 2**self.bits - 1)
        used = min(self.high, most) - max(self.low, least)
        if not self.count or used > _SMALL_PART * (most - least):
            return None
        least, most, low, high = (f"{value:,.6g}" for value in (least, most, self.low, self.high))
        likely = " ".join(f"{value:.6g}" for value in _likely_range(self.low, self.high))
        return (
            f"The {self.count:,} images of {self.bits} bits in {name} use pixels from {low} to "
            f"{high}, a small part of {least} to {most}, so the encoder sees hardly any contrast. "
            f"Say which are black and white: --pixel-range {likely}"
        )


def _likely_range(low, high):
    """From 0 to as many bits as the largest needs, or what is used where that begins far above 0
    or below it."""
    if 0 <= low <= high / 2 and high >= 1:
        return 0, 2 ** int(high).bit_length() - 1
    return low, high


def warn_if_scaled(images):
    """Warns about images that use a small part of 0 to 255, the range of pixels everywhere, or lie
    outside it."""
    low, high = (float(images.min()), float(images.max())) if images.size else (0, 255)
    outside = low < -1 or high > 256  # what resizing makes of black and white lies between
    nan = high != high  # which training stops at
    if nan or (not outside and high - low > _SMALL_PART * 255):
        return
    advice = "map them to that range"
    if low >= 0 and not outside:
        advice = "multiply them by 255" if high <= 1 else f"multiply them by 255 / {high:.6g}"
    warnings.warn(
        f"Pixels should go from 0 to 255, but these images use {low:.6g} to {high:.6g}: {advice}, "
        f"or the encoder sees other pictures than you do.",
        stacklevel=4,
    )
