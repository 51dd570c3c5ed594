"""Progress bars that suit where they are looked at: a terminal, a notebook, a file of a job."""

import sys
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # a notebook without ipywidgets gets the bars as text
    from tqdm.auto import tqdm


_AS_WIDGET = any(kind.__module__ == "tqdm.notebook" for kind in tqdm.__mro__)


def every(seconds):
    """Seconds between two states of a bar: half a second where it moves before somebody's eyes,
    else `seconds`."""
    return 0.5 if _AS_WIDGET or sys.stderr.isatty() else seconds


__all__ = ["every", "tqdm"]
