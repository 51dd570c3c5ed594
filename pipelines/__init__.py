"""What a user runs on a trained run; each module is `python -m pipelines.NAME`."""

import cueco_tf  # noqa: F401 (Ctrl-C ends the commands in a line from here on)
