"""Rows of features: checked, and as unit vectors."""

import numpy as np

_LEAST, _MOST = 1e-12, 1e17  # whose squares, added up, fit float32


def check_features(x, name):
    """Checks features and returns them as float32.

    Args:
        x: `(n, dim)` numbers, n and dim >= 1.
        name: of the array, for the refusal.

    Returns:
        float32 `(n, dim)`.

    Raises:
        ValueError: for another shape or type, NaN or infinity, or numbers too large or too small
            to be squared in float32.
    """
    x = np.asarray(x)
    if x.ndim != 2 or not x.size or x.dtype.kind not in "fiu":
        raise ValueError(
            f"{name} should hold a row of numbers a sample, (n, dim). "
            f"Received: {x.dtype} of shape {x.shape}"
        )
    largest = max(abs(float(x.max())), abs(float(x.min())))
    if not np.isfinite(largest):
        raise ValueError(f"{name} should hold finite numbers. Received NaN or infinity.")
    if largest and not _LEAST <= largest <= _MOST:
        raise ValueError(
            f"{name} should hold numbers whose squares fit float32, the largest between {_LEAST:g} "
            f"and {_MOST:g}. Received: {largest:.3g}. Divide all features by it."
        )
    return x.astype(np.float32, copy=False)


def normalize(x):
    """Rows scaled to Euclidean norm 1, float32; a zero row stays zero.

    Raises:
        ValueError: as `check_features`.
    """
    x = check_features(x, "Features")
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
