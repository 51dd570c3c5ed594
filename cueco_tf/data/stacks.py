"""Images whose channels are no colours: the pages of a TIFF, `.npy` files. No TensorFlow.

Channels of any meaning are cropped and resized each by itself, as numbers.
"""

import numpy as np
from PIL import Image, UnidentifiedImageError

from cueco_tf.data.channels import RGB, natural, with_channels
from cueco_tf.data.photos import Look, cut_out
from cueco_tf.data.pixels import to_pixels
from cueco_tf.settings.choices import MOST_CHANNELS

_SUBFILE, _BITS, _SAMPLES, _EXTRA = 254, 258, 277, 338  # tags of a TIFF
_REDUCED_OR_MASK = 1 | 4  # kinds of pages that belong to another
_NPY, _TIFF = b"\x93NUMPY", (b"II", b"MM")  # what such files begin with


class Stack:
    """Channels in an array.

    Args:
        pixels: `(height, width, channels)`, numbers of any type.
        reading: `Reading`.

    Raises:
        ValueError: for too many pixels or channels, other channels than the reading wants, or
            pixels of which nobody knows which are black and white.
    """

    def __init__(self, pixels, reading):
        height, width, channels = pixels.shape
        if height * width > reading.max_megapixels * 1e6:
            raise ValueError(
                f"more than {reading.max_megapixels:g} megapixels, the limit of --max-megapixels"
            )
        check_count(channels)
        if reading.channels is not None:
            with_channels(pixels[:1, :1], reading.channels)
        self._pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
        self._reading, self._bits = reading, bits_of(pixels.dtype)
        if self._bits == 32 and reading.pixel_range is None:
            raise ValueError(
                f"{pixels.dtype} pixels, whose black and white are not known: say them with "
                f"--pixel-range"
            )

    @property
    def size(self):
        """Width and height."""
        height, width, _ = self._pixels.shape
        return width, height

    def look(self):
        """What it holds: `Look`."""
        low, high = float(np.nanmin(self._pixels)), float(np.nanmax(self._pixels))
        channels = natural(self._pixels.shape[-1])
        return Look(*self.size, self._bits, low, high, channels, self._bits > 8)

    def cut(self, box, size):
        """As `Photo.cut`."""
        reading = self._reading
        pixels = to_pixels(self._pixels, reading.range_of(self._bits), reading.dtype)
        planes = map(np.ascontiguousarray, np.moveaxis(pixels, -1, 0))
        cut = [cut_out(Image.fromarray(plane), box, size) for plane in planes]
        return with_channels(np.concatenate(cut, axis=-1), reading.channels)


def bits_of(dtype):
    """8 or 16 of unsigned integers, or 32 where black and white have to be told."""
    return {"u1": 8, "u2": 16}.get(np.dtype(dtype).str[1:], 32)


def check_count(channels):
    """Raises ValueError for a number of channels that no image may have."""
    if not 1 <= channels <= MOST_CHANNELS:
        raise ValueError(f"{channels} channels: there should be 1 to {MOST_CHANNELS}")


def of_pages(image, path, reading):
    """The channels of a TIFF, of gray pages or of one page that Pillow would read in part.

    Args:
        image: `PIL.Image.Image`, opened.
        path: of its file, or the file itself.
        reading: `Reading`.

    Returns:
        `Stack`, or None for a picture.

    Raises:
        ValueError: for gray pages of different sizes, and as `Stack`.
    """
    if image.format != "TIFF":
        return None
    if _is_read_in_part(image, reading):
        return Stack(_by_tifffile(path), reading)
    pages = _gray_pages(image)
    if len(pages) < 2:
        image.seek(0)
        return None
    sizes = sorted({size for _, size in pages})
    if len(sizes) > 1:
        words = ", ".join(f"{width}x{height}" for width, height in sizes[:3])
        raise ValueError(f"its pages are of different sizes, {words}: they are no channels")
    check_count(len(pages))
    channels = []
    for number, _ in pages:
        image.seek(number)
        channels.append(np.asarray(image))
    return Stack(np.stack(channels, axis=-1), reading)


def _gray_pages(image):
    """`(number, size)` of each page but for reduced copies and masks; none where one is in colours
    or of two values, as scans are."""
    pages = []
    for number in range(image.n_frames):
        try:
            image.seek(number)
        except (EOFError, OSError, SyntaxError):  # Pillow's words for what it does not know
            return []
        if image.mode not in ("L", "I", "F") and not image.mode.startswith("I;16"):
            return []
        if not image.tag_v2.get(_SUBFILE, 0) & _REDUCED_OR_MASK:
            pages.append((number, image.size))
    return pages


def _is_read_in_part(image, reading):
    """Whether Pillow would leave channels out, or bits that are asked for."""
    tags = image.tag_v2
    samples = tags.get(_SAMPLES, 1)
    if samples > 4 or (samples == 4 == reading.channels and tags.get(_EXTRA, (1,))[0] == 0):
        return True
    deep = reading.depth != 8 and max(tags.get(_BITS, (1,))) > 8
    return deep and samples > 1 and samples in (reading.channels, RGB)


def of_array(path, reading):
    """The channels of what Pillow does not know: an `.npy` file or another kind of TIFF.

    Args:
        path: of the file, or the file itself.
        reading: `Reading`.

    Returns:
        `Stack`.

    Raises:
        Exception: of any kind, for one that is empty, cannot be read, or holds no image.
    """
    start = _start_of(path)
    if not start:
        raise ValueError("the file is empty")
    if start.startswith(_NPY):
        return Stack(_of_npy(path), reading)
    if start.startswith(_TIFF):
        return Stack(_by_tifffile(path), reading)
    raise UnidentifiedImageError(f"cannot identify image file {str(path)!r}")


def _start_of(path):
    if hasattr(path, "read"):
        path.seek(0)
        start = path.read(len(_NPY))
        path.seek(0)
        return start
    with open(path, "rb") as file:
        return file.read(len(_NPY))


def _of_npy(path):
    whole = hasattr(path, "read")  # a file that is in memory
    pixels = np.load(path, mmap_mode=None if whole else "r", allow_pickle=False)
    shape, kind = pixels.shape, pixels.dtype
    if kind.kind not in "uif" or len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(
            f"{kind} of shape {shape}, where numbers of shape (height, width) or (height, width, "
            f"channels) are wanted"
        )
    if len(shape) == 3 and shape[0] <= MOST_CHANNELS < shape[2]:
        raise ValueError(
            f"{kind} of shape {shape}: put channels last, by numpy.moveaxis(image, 0, -1)"
        )
    return pixels if len(shape) == 3 else pixels[..., None]


def _by_tifffile(path):
    """The channels of a TIFF as `(height, width, channels)`."""
    try:
        import tifffile  # an extra: most sets do without
    except ImportError as error:
        raise ValueError(
            "a TIFF whose channels Pillow cannot read: pip install tifffile"
        ) from error
    if hasattr(path, "read"):
        path.seek(0)
    with tifffile.TiffFile(path) as file:
        sizes = {page.shape for page in file.pages if not page.is_reduced}
        if len(sizes) > 1:
            words = ", ".join("x".join(map(str, size)) for size in sorted(sizes)[:3])
            raise ValueError(f"its pages are of different sizes, {words}: they are no channels")
        series = file.series[0]
        axes, pixels = series.axes, series.asarray()
    kept = [place for place, length in enumerate(pixels.shape) if length > 1 or axes[place] in "YX"]
    pixels = pixels.reshape([pixels.shape[place] for place in kept])
    others = [place for place, axis in enumerate(kept) if axes[axis] not in "YX"]
    if len(others) > 1:
        raise ValueError(f"an image of more than one axis of channels, {axes} {pixels.shape}")
    return np.moveaxis(pixels, others[0], -1) if others else pixels[..., None]
