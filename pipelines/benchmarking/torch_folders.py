"""Views of JPEG files by PyTorch's DataLoader and Pillow: the other side of `benchmark folders`.

No TensorFlow: worker processes import this module.
"""

import contextlib
import itertools
import math
import random
import time

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps

_AHEAD = 2  # batches a worker makes ahead
_JITTER, _HUE = 0.4, 0.1


class _Views(torch.utils.data.IterableDataset):
    """Two views of random files, without end."""

    def __init__(self, paths, size, finished):
        self.paths, self.size, self.finished = paths, size, finished

    def __iter__(self):
        while True:
            with Image.open(random.choice(self.paths)) as image:
                image = image.convert("RGB")
            yield torch.stack([torch.from_numpy(self._view(image)) for _ in range(2)])

    def _view(self, image):
        view = image.crop(_box(*image.size)).resize((self.size,) * 2, Image.Resampling.BILINEAR)
        return np.float32(_finished(view)) if self.finished else np.array(view)


def _box(width, height):
    """A box of 20 to 100 % of the area with sides of 3 to 4 up to 4 to 3, where such fits."""
    for _ in range(10):
        area = width * height * random.uniform(0.2, 1)
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < high <= height:
            left, top = random.randint(0, width - wide), random.randint(0, height - high)
            return left, top, left + wide, top + high
    return 0, 0, width, height


def _finished(view):
    """Flip, jitter of colours and gray, at the usual probabilities."""
    if random.random() < 0.5:
        view = ImageOps.mirror(view)
    if random.random() < 0.8:
        for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            view = kind(view).enhance(random.uniform(1 - _JITTER, 1 + _JITTER))
        hue, saturation, value = view.convert("HSV").split()
        turned = np.array(hue) + np.uint8(int(255 * random.uniform(-_HUE, _HUE)) % 256)
        merged = Image.merge("HSV", (Image.fromarray(turned, "L"), saturation, value))
        view = merged.convert("RGB")
    if random.random() < 0.2:
        view = view.convert("L").convert("RGB")
    return view


class _Loader:
    def __init__(self, batches, ahead, batch_size):
        self.batches, self.ahead, self.batch_size = batches, ahead, batch_size

    def rate(self, steps):
        """Images a second; what was made ahead while others were measured is drawn first."""
        for _ in itertools.islice(self.batches, self.ahead):
            pass
        start = time.monotonic()
        for _ in itertools.islice(self.batches, steps):
            pass
        return steps * self.batch_size / (time.monotonic() - start)


@contextlib.contextmanager
def loading(paths, size, batch_size, finished, processes):
    """Yields an object whose `rate(steps)` is in images a second."""
    loader = torch.utils.data.DataLoader(
        _Views(paths, size, finished),
        batch_size,
        num_workers=processes,
        prefetch_factor=_AHEAD,
        multiprocessing_context="spawn",
        worker_init_fn=random.seed,
    )
    batches = iter(loader)
    try:
        yield _Loader(batches, _AHEAD * processes, batch_size)
    finally:
        batches._shutdown_workers()
