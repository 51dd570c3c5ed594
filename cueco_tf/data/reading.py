"""How image files and arrays become pixels: their range, channels and depth. No TensorFlow."""

import dataclasses
import math

import numpy as np

from cueco_tf.data.channels import RGB
from cueco_tf.settings.choices import DEPTHS, MOST_CHANNELS
from cueco_tf.settings.run_fields import RunFields


@dataclasses.dataclass(frozen=True)
class Reading:
    """How files become pixels: the same in training, evaluation and embedding.

    Args:
        pixel_range: `(LOW, HIGH)`, the pixels that are black and white in the files, or None for 0
            and the largest number of 8 or 16 bits. Files of 8 bits keep theirs where HIGH is above
            255.
        max_megapixels: float > 0: larger images are not opened.
        channels: integer from 1 to 16, or None for those of the set (`channels.common`); of a
            single image 3.
        depth: 8 for uint8 pixels, 16 for float32 ones, which keep what files have beyond 8 bits;
            both go from 0 to 255. None for that of the set; of a single image 8.

    Raises:
        ValueError: for a range that is empty or not finite, no positive limit, or another number of
            channels or bits.
    """

    pixel_range: tuple | None = None
    max_megapixels: float = RunFields.max_megapixels
    channels: int | None = None
    depth: int | None = None

    def __post_init__(self):
        if self.pixel_range is not None:
            object.__setattr__(self, "pixel_range", tuple(float(v) for v in self.pixel_range))
            if not (len(self.pixel_range) == 2 and -math.inf < self.low < self.high < math.inf):
                raise ValueError(
                    f"--pixel-range should be two numbers, LOW below HIGH. "
                    f"Received: {self.pixel_range}"
                )
        if not 0 < self.max_megapixels < math.inf:
            raise ValueError(
                f"--max-megapixels should be positive. Received: {self.max_megapixels}"
            )
        if self.channels is not None and not 1 <= self.channels <= MOST_CHANNELS:
            raise ValueError(
                f"--channels should be from 1 to {MOST_CHANNELS}. Received: {self.channels}"
            )
        if self.depth not in (None, *DEPTHS):
            raise ValueError(f"--depth should be 8 or 16. Received: {self.depth}")

    @property
    def low(self):
        """What is black."""
        return self.pixel_range[0]

    @property
    def high(self):
        """What is white."""
        return self.pixel_range[1]

    @property
    def dtype(self):
        """That of the pixels."""
        return np.dtype(np.float32 if self.depth == 16 else np.uint8)

    def range_of(self, bits):
        """The `(LOW, HIGH)` that holds for files of so many bits, or None for all of these."""
        return None if bits == 8 and self.pixel_range and self.high > 255 else self.pixel_range

    def settled(self, channels=RGB, depth=8):
        """The same with channels and depth, where it leaves them to the set."""
        return dataclasses.replace(
            self, channels=self.channels or channels, depth=self.depth or depth
        )


AS_STORED = Reading()
