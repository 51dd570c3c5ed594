"""CueCo: cluster contrast for unsupervised visual representation learning, in Keras.

Import this package before TensorFlow. It switches on TensorFlow's oneDNN kernels, which
roughly double the CPU speed of a convolutional network and which TensorFlow reads once, when
it is first imported. Nothing here imports TensorFlow until a name that needs it is used.

Method: Giakoumoglou and Stathaki, "Cluster Contrast for Unsupervised Visual Representation
Learning", arXiv:2507.12359.
"""

import importlib
import os
import sys
import warnings

__version__ = "0.1.0"

if "TF_ENABLE_ONEDNN_OPTS" not in os.environ and "tensorflow" in sys.modules:
    warnings.warn(
        "TensorFlow was imported before cueco_tf, so its fast CPU kernels may be off (about half "
        "the speed). Put `import cueco_tf` first, or set TF_ENABLE_ONEDNN_OPTS=1 in the "
        "environment.",
        stacklevel=2,
    )
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

_LAZY = {
    "CueCo": "cueco_tf.model",
    "TwoViews": "cueco_tf.augment",
    "build_encoder": "cueco_tf.encoders",
    "load_run": "cueco_tf.runs",
    "load_encoder": "cueco_tf.runs",
}
_MODULES = ("augment", "clusters", "data", "encoders", "evaluation", "losses", "momentum")

__all__ = ["__version__", *_LAZY, *_MODULES]


def __getattr__(name):
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
