"""How fast images become embeddings, and what bounds that."""

import contextlib
import threading
import time


class Pace:
    """Counts images and the time that goes into them.

    `images` were read in `read` seconds, of all threads together; `seconds` is the time by the
    clock.

    Args:
        encoder: `export.reading.Encoder` that embeds them.
    """

    def __init__(self, encoder):
        self.images, self.read, self.seconds = 0, 0.0, 0.0
        self._encoder, self._before, self._lock = encoder, encoder.busy, threading.Lock()

    @contextlib.contextmanager
    def running(self):
        """Counts the block's time by the clock."""
        start = time.monotonic()
        yield
        self.seconds += time.monotonic() - start

    @contextlib.contextmanager
    def reading(self, images):
        """Counts the block, of any thread, as the reading of so many images."""
        start = time.monotonic()
        yield
        with self._lock:
            self.read, self.images = self.read + time.monotonic() - start, self.images + images

    @property
    def network(self):
        """Seconds of the network's work: of all threads together or, on a GPU, by the clock."""
        return self._encoder.busy - self._before

    def __str__(self):
        """Images a second, and what bounds them."""
        rate = f"{self.images / max(self.seconds, 1e-9):,.0f} images/s on {self._encoder.device}"
        if self._encoder.device == "cpu":  # both sides share the cores
            share = self.read / max(self.read + self.network, 1e-9)
            return (
                f"{rate}, bound by {'reading' if share > 0.5 else 'the network'}: reading images "
                f"took {share:.0%} of the threads' time, the network {1 - share:.0%}"
            )
        busy = min(1.0, self.network / max(self.seconds, 1e-9))
        bound = "the network" if busy > 0.9 else "reading"
        return f"{rate}, bound by {bound}: the network was at work {busy:.0%} of the time"
