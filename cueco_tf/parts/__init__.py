"""What methods are made of; knows no method."""

import keras  # noqa: F401 (so that what its configuration file says is known)

from cueco_tf.backend import require_tensorflow

require_tensorflow()
