"""Which of Keras's backends is in force."""

import os
import sys


def require_tensorflow():
    """Refuses Keras's other backends, as far as can be told without importing it.

    Raises:
        ImportError: where another one is in force or asked for.
    """
    name = os.environ.get("KERAS_BACKEND") or "tensorflow"
    if "keras" in sys.modules:
        name = sys.modules["keras"].config.backend()
    if name != "tensorflow":
        raise ImportError(
            f"cueco_tf trains with Keras's TensorFlow backend: set KERAS_BACKEND=tensorflow in the "
            f"environment, before Keras is imported. Received: {name}"
        )
