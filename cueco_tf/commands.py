"""The commands as functions: `cueco_tf.embed` is `pipelines.embed.embed`, and so on.

They are of `pipelines`, which knows all of the library and which the library does not import before
one of them is asked for. (`export` is a room of the package: `cueco_tf.load_run(RUN).export()`.)
"""

import importlib

NAMES = ("evaluate", "report", "embed", "clusters", "search", "duplicates", "reproduce")


def __getattr__(name):
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"pipelines.{name}"), name)
