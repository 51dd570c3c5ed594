"""Images in a NumPy file as a data set: `array:FILE.npy`, `array:FILE.npz`."""

import hashlib
import warnings
import zipfile
import zlib

import numpy as np

from cueco_tf.data.channels import natural
from cueco_tf.data.folders import draw_test
from cueco_tf.data.labels import UNLABELLED, check_labels, known
from cueco_tf.data.pixels import Used, to_pixels
from cueco_tf.data.splits import LARGE_SIZE, SMALL, DataError, ImageSet, array_split
from cueco_tf.data.stacks import bits_of
from cueco_tf.settings.choices import MOST_CHANNELS

_BLOCK = 1024  # images that are read and converted at once
_WANTED = f"(n, height, width) or (n, height, width, 1 to {MOST_CHANNELS}), of numbers"


def load_array(name, path, image_size, reading):
    """Loads images, and labels where there are any, which are held in memory as uint8, deeper ones
    as float32.

    The central square of each image is kept. Where labels are known, a fifth is held out as the
    test split.

    Args:
        name: what the user calls the set.
        path: of an `.npy` file of images, or an `.npz` file of the arrays `images` and, if there
            are any, `labels`: class numbers, -1 where unknown, or names.
        image_size: integer, the height and width to train at, or None for the native size (224
            above 64 pixels).
        reading: `Reading`, which says what pixels are black and white, and what is kept of them.

    Returns:
        `ImageSet`.

    Raises:
        DataError: for a file that cannot be read or holds no such arrays.
    """
    images, labels = _read(path)
    pixel_range = reading.range_of(bits_of(images.dtype))
    _check(path, images, pixel_range)
    own = natural(images.shape[3] if images.ndim == 4 else 1)
    reading = reading.settled(own, 8 if images.dtype == np.uint8 else 16)
    pixels = _pixels(path, images, pixel_range, reading.dtype)
    size = image_size or (max(pixels.shape[1], 8) if pixels.shape[1] <= SMALL else LARGE_SIZE)
    labels, names = _classes(path, labels, len(images))
    print(f"Images of {path}: {len(images):,} of {_shown(images)}; {_said(names)}")
    with open(path, "rb") as file:
        origin = hashlib.file_digest(file, "sha256").hexdigest()
    whole = array_split(pixels, labels, size, origin, reading.channels)
    if names is None:
        return ImageSet(name, whole, None, None)
    train, test = draw_test(labels, np.arange(len(labels)), len(names))
    return ImageSet(name, whole.take(train), whole.take(test), names)


def _read(path):
    """The arrays of images and of labels, None where there are none; nothing is unpickled."""
    try:
        if path.suffix.lower() == ".npy":
            images = np.load(path, mmap_mode="r", allow_pickle=False)
            return _array(images), None
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            raise ValueError("it holds a single array, as .npy files do")
        with found as file:
            if "images" not in file.files:
                found = ", ".join(file.files) or "no arrays"
                raise DataError(f"{path} should hold the array images. Received: {found}")
            return _array(file["images"]), file["labels"] if "labels" in file.files else None
    except DataError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, AttributeError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise DataError(f"{path} cannot be read as NumPy's .npy or .npz: {reason}") from error


def _array(found):
    if not isinstance(found, np.ndarray):
        raise ValueError("it holds several arrays, as .npz files do")
    return found


def _check(path, images, pixel_range):
    shape, kind = images.shape, images.dtype
    channels = shape[3] if len(shape) == 4 else 1
    if len(shape) not in (3, 4) or channels > MOST_CHANNELS or kind.kind not in "uif":
        raise DataError(f"{path} should hold images {_WANTED}. Received: {_shown(images)}")
    if len(images) < 2 or 0 in shape:
        raise DataError(f"{path} should hold at least 2 images. Received: {_shown(images)}")
    if pixel_range is None and bits_of(kind) == 32:
        raise DataError(
            f"{path} holds {kind}: say which pixels are black and white by --pixel-range LOW HIGH."
        )


def _pixels(path, images, pixel_range, dtype):
    """The central squares, `(n, side, side, channels)` of `dtype`; 16 bits that use a small part of
    their range are warned about."""
    height, width = images.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    images = images[:, top : top + side, left : left + side]
    images = images if images.ndim == 4 else images[..., None]
    used = Used(bits_of(images.dtype))
    pixels = np.empty(images.shape, dtype)
    for start in range(0, len(images), _BLOCK):
        block = images[start : start + _BLOCK]
        used.count += len(block) - 1
        used.add(float(block.min()), float(block.max()))
        pixels[start : start + _BLOCK] = to_pixels(block, pixel_range, dtype)
    if warning := used.warning(path, pixel_range):
        warnings.warn(warning, stacklevel=5)
    return pixels


def _classes(path, labels, count):
    """Labels int32 `(n,)` and names of classes; (None, None) where fewer than two are known."""
    if labels is None:
        return None, None
    try:
        labels = check_labels(labels, count, text=True)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    has_one = known(labels)
    names, numbers = np.unique(labels[has_one], return_inverse=True)
    if len(names) < 2:
        return None, None
    found = np.full(count, UNLABELLED, np.int32)
    found[has_one] = numbers
    return found, tuple(map(str, names))


def _shown(images):
    return f"{images.dtype} {images.shape}"


def _said(names):
    return "no labels" if names is None else f"{len(names):,} classes"
