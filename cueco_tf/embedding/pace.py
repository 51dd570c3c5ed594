"""How fast images become embeddings, and which side the other waits for."""

import contextlib
import threading
import time


class Pace:
    """Counts images and the seconds of each side, from any thread.

    `reading` and `network` are seconds that all threads together spent on reading, decoding and
    resizing images, and in the network; on a GPU the latter count while it is at work for them.

    Args:
        device: `"cpu"` or `"cuda"`, what the network runs on.
    """

    def __init__(self, device):
        self.device, self.images, self.reading, self.network = device, 0, 0.0, 0.0
        self._lock, self.seconds = threading.Lock(), 0.0

    @contextlib.contextmanager
    def on(self, side, images=0):
        """Counts the time of the block.

        Args:
            side: `"reading"` or `"network"`.
            images: integer, how many are done after the block. Defaults to 0.
        """
        start = time.monotonic()
        yield
        with self._lock:
            setattr(self, side, getattr(self, side) + time.monotonic() - start)
            self.images += images

    @contextlib.contextmanager
    def running(self):
        """Adds the block to `seconds`, the time by the clock."""
        start = time.monotonic()
        yield
        self.seconds += time.monotonic() - start

    def __str__(self):
        """In words: images a second, and what bounds them; empty without images."""
        if not self.images or not self.seconds:
            return ""
        rate = f"{self.images / self.seconds:,.0f} images/s on {self.device}"
        if self.device == "cpu":  # both sides share the cores
            share = self.reading / (self.reading + self.network)
            bound = "reading" if share > 0.5 else "the network"
            return (
                f"{rate}, bound by {bound}: reading images took {share:.0%} of the threads' time, "
                f"the network {1 - share:.0%}"
            )
        busy = min(1.0, self.network / self.seconds)
        bound = "the network" if busy > 0.9 else "reading"
        return f"{rate}, bound by {bound}: the network was at work {busy:.0%} of the time"
