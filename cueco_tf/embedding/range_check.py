"""Whether the pixels of images to embed use the range that they are taken to have."""

import contextlib

import numpy as np

from cueco_tf.data.image_files import examine
from cueco_tf.data.pixels import Used
from cueco_tf.data.reading import AS_STORED
from cueco_tf.embedding.sources import FileSource

_SAMPLE = 32  # images that are looked into before all are embedded


def range_warnings(source):
    """What a few images, spread over a source, say against the range of their pixels.

    Args:
        source: what `sources.open_source` returned.

    Returns:
        A list of sentences.
    """
    reading = source.reading if isinstance(source, FileSource) else AS_STORED
    used = {bits: Used(bits) for bits in (8, 16, 32)}
    count = min(_SAMPLE, len(source))
    for i in np.linspace(0, len(source) - 1, count).astype(int):
        if isinstance(source, FileSource):
            with contextlib.suppress(Exception):  # what cannot be read is told when it is embedded
                look = examine(source.paths[i], reading)
                used[look.bits].add(look.low, look.high)
        else:
            pixels = source.load([i])[0]
            used[8].add(int(pixels.min()), int(pixels.max()))
    found = (each.warning("the source", reading.range_of(bits)) for bits, each in used.items())
    return [sentence for sentence in found if sentence]
