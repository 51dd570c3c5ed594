"""Features of any origin in an `.npz` file, to be scored."""

import numpy as np

from cueco_tf.evaluation.features import checked

ARRAYS = ("train_x", "train_y", "test_x", "test_y")


class FeatureError(ValueError):
    """A file of features that cannot be scored; the message says why."""


def read_features(path):
    """Reads a file of features.

    Args:
        path: `.npz` file of `train_x` `(n, dim)`, `train_y` `(n,)`, `test_x` `(m, dim)`, `test_y`
            `(m,)`; features are finite numbers, labels numbers, -1 where unknown, or text.

    Returns:
        The four arrays, in this order, without samples whose labels are unknown.

    Raises:
        FeatureError: for a file that cannot be read, or arrays that do not fit each other.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in ARRAYS if name not in file]
            if missing:
                raise FeatureError(
                    f"{path} should hold the arrays {', '.join(ARRAYS)}. "
                    f"Missing: {', '.join(missing)}; there: {', '.join(file.files) or 'none'}."
                )
            train_x, train_y, test_x, test_y = (file[name] for name in ARRAYS)
    except FeatureError:
        raise
    except Exception as error:  # zip, npy and pickle errors come in many kinds
        raise FeatureError(f"{path} cannot be read as .npz: {error}") from error
    try:
        return checked(train_x, train_y, test_x, test_y)
    except ValueError as error:
        raise FeatureError(f"{path}: {error}") from error
