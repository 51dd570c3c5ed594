"""Image files as a person sees them: found, decoded upright in RGB, cropped. No TensorFlow.

Training, evaluation and the exported encoder all read files through this one module, so the same
file gives the same pixels everywhere. Pillow reads every common format, scales a JPEG down while
it decodes it, crops and resizes in one pass, and lets other threads run meanwhile.
"""

import concurrent.futures
import dataclasses
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

WORKERS = min(32, 2 * (os.cpu_count() or 1))
EVALUATION_CROP = 0.875  # the share of the shorter side in the usual central test crop, 224 / 256
_ORIENTATION = 0x0112  # the EXIF tag; 5 to 8 stand for images on their side


@dataclasses.dataclass(frozen=True)
class ImageFile:
    """A readable image: its path, and its size as a person sees it (EXIF rotation applied)."""

    path: Path
    width: int
    height: int


def find(folder):
    """The paths of all image files in a folder and the folders below it, sorted.

    Files whose names are not those of an image format, and hidden files, are passed over.
    """
    suffixes = {
        suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN
    }
    return sorted(
        Path(root, name)
        for root, _, names in os.walk(folder)
        for name in names
        if Path(name).suffix.lower() in suffixes and not name.startswith(".")
    )


def scan(folder):
    """Finds the images in a folder and looks into each.

    Every file is decoded once, a JPEG at an eighth of its size, so that damaged ones are known
    before training.

    Args:
        folder: path.

    Returns:
        `(found, skipped)`: a list of `ImageFile` in the order of their paths, and a list of
        `(path, reason)` for unreadable images.
    """
    paths = find(folder)
    found, skipped = [], []
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        results = pool.map(_examine, paths)
        results = tqdm(results, f"Reading {folder}", len(paths), unit="file", leave=False)
        for path, result in zip(paths, results, strict=True):
            if isinstance(result, ImageFile):
                found.append(result)
            else:
                skipped.append((path, result))
    return found, skipped


def _examine(path):
    try:
        with Image.open(path) as image:
            width, height = _upright_size(image)
            image.draft("RGB", (1, 1))
            image.load()
            _check_range(image)
            return ImageFile(path, width, height)
    except Exception as error:  # a damaged file can make a decoder raise anything
        return reason(error)


def reason(error):
    """An exception as one line, for a list of skipped files."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def crops(path, boxes, size):
    """Decodes one image and cuts boxes (top, left, bottom, right; parts of its size) out of it.

    Returns:
        uint8 `(len(boxes), size, size, 3)`.
    """
    with Image.open(path) as image:
        return _cut(image, boxes, size)


def central_boxes(aspects, share=EVALUATION_CROP):
    """The central square of images whose heights over widths are given.

    Args:
        aspects: `(n,)`.
        share: float in (0, 1], of the shorter side. Defaults to 0.875.

    Returns:
        float32 `(n, 4)` for `crops`.
    """
    aspects = np.asarray(aspects, np.float32)
    height, width = np.minimum(1.0, 1.0 / aspects) * share, np.minimum(1.0, aspects) * share
    boxes = (0.5 - height / 2, 0.5 - width / 2, 0.5 + height / 2, 0.5 + width / 2)
    return np.stack(boxes, 1).astype(np.float32)


def central_crop(path, size, share=EVALUATION_CROP):
    """Decodes one image and cuts its central square out: uint8 `(size, size, 3)`.

    Raises:
        Exception: of any kind, for a file that is no readable image.
    """
    with Image.open(path) as image:
        width, height = _upright_size(image)
        return _cut(image, central_boxes([height / width], share), size)[0]


def _upright_size(image):
    width, height = image.size
    return (height, width) if image.getexif().get(_ORIENTATION, 1) >= 5 else (width, height)


def _cut(image, boxes, size):
    # A JPEG decodes to an eighth, a quarter or half its size where even the smallest crop then
    # still has enough pixels.
    smallest = min(min(box[2] - box[0], box[3] - box[1]) for box in boxes)
    image.draft("RGB", (int(size / smallest) + 1,) * 2)
    image = _to_rgb(ImageOps.exif_transpose(image))
    height, width = image.height, image.width
    cut = [
        image.resize(
            (size, size),
            Image.Resampling.BILINEAR,
            box=(left * width, top * height, right * width, bottom * height),
            reducing_gap=2.0,
        )
        for top, left, bottom, right in np.clip(np.asarray(boxes, float), 0, 1)
    ]
    return np.stack([np.asarray(crop) for crop in cut])


def _to_rgb(image):
    """Eight bits a channel; what is transparent shows white, as on a page."""
    _check_range(image)
    if image.mode == "I" or image.mode.startswith("I;16"):
        deep = np.clip(np.asarray(image), 0, 0xFFFF).astype(np.uint16)
        image = Image.fromarray((deep >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _check_range(image):
    if image.mode == "F":
        raise ValueError("floating-point pixels, whose black and white are not known")
