"""How many pixels Pillow opens. No TensorFlow."""

import contextlib
import threading

from PIL import Image


class _Most(int):
    """A limit of pixels for Pillow, which warns at its limit and refuses at twice that: this one it
    refuses at, and says nothing before."""

    def __rmul__(self, other):
        return int(self)


class _PillowsLimit:
    """Pillow's own limit, which belongs to the process, set while files are open and then put back.

    Several threads at a time read by the same one: the highest that any of them has asked for.
    """

    def __init__(self):
        self.lock, self.users, self.former = threading.Lock(), 0, None

    @contextlib.contextmanager
    def of(self, pixels):
        """The limit for as long as the block runs."""
        with self.lock:
            if not self.users:
                self.former, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, _Most(0)
            self.users += 1
            Image.MAX_IMAGE_PIXELS = _Most(max(pixels, Image.MAX_IMAGE_PIXELS))
        try:
            yield
        finally:
            with self.lock:
                self.users -= 1
                if not self.users:
                    Image.MAX_IMAGE_PIXELS = self.former


PILLOWS_LIMIT = _PillowsLimit()
