"""Features of any origin in an `.npz` file, to be scored."""

import numpy as np

ARRAYS = ("train_x", "train_y", "test_x", "test_y")


class FeatureError(ValueError):
    """A file of features that cannot be scored; the message says why."""


def read_features(path):
    """Reads a file of features.

    Args:
        path: `.npz` file of `train_x` `(n, dim)`, `train_y` `(n,)`, `test_x` `(m, dim)`, `test_y`
            `(m,)`; features are finite numbers.

    Returns:
        The four arrays, in this order.

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
    for name, x, y in (("train", train_x, train_y), ("test", test_x, test_y)):
        if x.ndim != 2 or y.shape != x.shape[:1] or x.shape[1] != train_x.shape[1]:
            raise FeatureError(
                f"{name}_x should be (n, dim) and {name}_y (n,), with one dim for train and test. "
                f"Received: {x.shape} and {y.shape}."
            )
        if x.dtype.kind not in "fiu" or not np.isfinite(x).all():
            raise FeatureError(f"{name}_x should hold finite numbers. Received: {x.dtype}.")
    return train_x, train_y, test_x, test_y
