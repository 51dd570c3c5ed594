"""What is learnt: a file a method. `cueco_tf.methods()` lists them."""

import sys
import types

from cueco_tf.backend import require_tensorflow
from cueco_tf.settings.methods import METHODS

require_tensorflow()


class _Methods(types.ModuleType):
    """This package, which can also be called: Python gives its name in `cueco_tf` to it."""

    def __call__(self):
        """The methods: a dict from the name that `--method` takes to a line about it."""
        return {name: f"{kind.title}: {kind.summary}" for name, kind in METHODS.items()}


sys.modules[__name__].__class__ = _Methods
