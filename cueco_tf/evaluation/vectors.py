"""Rows of features as unit vectors."""

import numpy as np


def normalize(x):
    """Rows scaled to Euclidean norm 1, float32; a zero row stays zero."""
    x = np.asarray(x, np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
