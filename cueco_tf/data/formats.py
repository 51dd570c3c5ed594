"""Which formats of images are read: Pillow's, HEIC where pillow-heif is, and NumPy's. No
TensorFlow."""

import contextlib

from PIL import Image

with contextlib.suppress(ImportError):
    import pillow_heif

    pillow_heif.register_heif_opener()

# What an extra of this package reads: the suffixes, and its name.
EXTRAS = {".heic": "heic", ".heif": "heic", ".hif": "heic"}


def suffixes():
    """The suffixes of the formats that are read here: a set, in lower case."""
    known = Image.registered_extensions().items()
    return {suffix for suffix, kind in known if kind in Image.OPEN} | {".npy"}


def open_image(file):
    """Opens an image, with all of these formats known.

    Args:
        file: what `PIL.Image.open` takes.

    Raises:
        OSError: where it is gone, or no image.
    """
    return Image.open(file)
