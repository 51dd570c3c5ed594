"""How many channels images have, and how those of one number become another. No TensorFlow."""

import numpy as np

RGB = 3  # channels where nothing else is said: gray images have three that are alike
_LUMA = 19595, 38470, 7471  # of 65536, as Pillow makes gray of colours (ITU-R BT.601)


def natural(channels):
    """The channels of an image where nothing else is said: three for gray and for colours."""
    return RGB if channels == 1 else channels


def common(found):
    """The channels that all images of a set have.

    Args:
        found: mapping of `natural` numbers of channels to `(count, example)`.

    Raises:
        ValueError: for images that differ; it says which and how many.
    """
    if len(found) > 1:
        ranked = sorted(found.items(), key=lambda pair: -pair[1][0])
        words = "; ".join(
            f"{count:,} of {'gray or colour' if number == RGB else f'{number} channels'}, such as "
            f"{example}"
            for number, (count, example) in ranked
        )
        raise ValueError(
            f"its images differ in their channels: {words}. Say with --channels which to take: the "
            f"others are left."
        )
    return next(iter(found), RGB)


def with_channels(pixels, wanted):
    """Pixels `(..., channels)` as `(..., wanted)`: gray as three channels that are alike, colours
    as gray; any other number stays what it is.

    Raises:
        ValueError: where that is not what is wanted.
    """
    own = pixels.shape[-1]
    if own == wanted:
        return pixels
    if (own, wanted) == (1, RGB):
        return np.repeat(pixels, RGB, axis=-1)
    if (own, wanted) != (RGB, 1):
        raise ValueError(f"{own} channel{'s' * (own != 1)}, wanted: {wanted}")
    whole = pixels.dtype == np.uint8
    parts = pixels.astype(np.uint32) if whole else pixels
    luma = sum(parts[..., i, None] * weight for i, weight in enumerate(_LUMA))
    luma = (luma + 0x8000) >> 16 if whole else luma / 0x10000
    return luma.astype(pixels.dtype)


def as_picture(pixels):
    """Pixels 0 to 255 as a person can look at them: uint8 `(..., 3)`.

    One channel is gray; of two, the first is red and the second green and blue; of more, the first
    three are red, green and blue.
    """
    pixels = pixels if pixels.dtype == np.uint8 else np.clip(np.round(pixels), 0, 255)
    shown = {1: [0, 0, 0], 2: [0, 1, 1]}.get(pixels.shape[-1], [0, 1, 2])
    return pixels[..., shown].astype(np.uint8)
