"""CueCo: cluster contrast for unsupervised visual representation learning, in Keras.

Import this package before TensorFlow. It switches on what TensorFlow reads once, when it is first
imported: the oneDNN kernels, which roughly double the CPU speed of a convolutional network, and
on a machine with a GPU XLA's command buffers. Nothing here imports TensorFlow until a name that
needs it is used.

Method: Giakoumoglou and Stathaki, "Cluster Contrast for Unsupervised Visual Representation
Learning", arXiv:2507.12359.
"""

import os
import sys
import warnings

from cueco_tf import commands
from cueco_tf.gpu import gpus_there, launch_less
from cueco_tf.lazy import names_of
from cueco_tf.process import end_quietly_at_ctrl_c
from cueco_tf.settings.methods import models

__version__ = "0.2.0"

end_quietly_at_ctrl_c()

if "TF_ENABLE_ONEDNN_OPTS" not in os.environ and "tensorflow" in sys.modules:
    warnings.warn(
        "TensorFlow was imported before cueco_tf, so its fast CPU kernels may be off (about half "
        "the speed). Put `import cueco_tf` first, or set TF_ENABLE_ONEDNN_OPTS=1 in the "
        "environment.",
        stacklevel=2,
    )
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
if gpus_there():
    launch_less(os.environ)

__getattr__, __dir__, _names = names_of(
    __name__,
    {
        **{name: module.removeprefix("cueco_tf.") for module, name in models()},
        "TwoViews": "data.augment",
        "build_encoder": "parts.resnet",
        "pretrain": "train",
        "load_run": "running.loading",
        "load_encoder": "running.loading",
        "load_model": "running.loading",
        **dict.fromkeys(commands.NAMES, "commands"),
        "data": None,
        "evaluation": None,
        "methods": None,
    },
)
__all__ = ["__version__", *_names]
