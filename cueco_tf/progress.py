"""Progress bars that suit where they are looked at: a terminal, a notebook, a file of a job."""

import sys
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # a notebook without ipywidgets gets the bars as text
    from tqdm.auto import tqdm


def every(seconds):
    """Seconds between two states of a bar: half a second where somebody watches, else `seconds`."""
    return 0.5 if sys.stderr.isatty() or "ipykernel" in sys.modules else seconds


__all__ = ["every", "tqdm"]
