"""Which formats of images are read: Pillow's, and HEIC where pillow-heif is. No TensorFlow."""

import contextlib

from PIL import Image

from cueco_tf.data.members import openable

with contextlib.suppress(ImportError):
    import pillow_heif

    pillow_heif.register_heif_opener()

# What an extra of this package reads: the suffixes, and its name.
EXTRAS = {".heic": "heic", ".heif": "heic", ".hif": "heic"}


def suffixes():
    """The suffixes of the formats that are read here: a set, in lower case."""
    known = Image.registered_extensions().items()
    return {suffix for suffix, kind in known if kind in Image.OPEN}


def open_image(path):
    """Opens an image as `PIL.Image.open` does, by its path or as a `Member`.

    Raises:
        OSError: where it is gone, or no image.
    """
    return Image.open(openable(path))
