"""How similar images are within clusters and between them: the paper's Figure 2."""

import dataclasses

import numpy as np

BINS = np.linspace(-1, 1, 101)  # of cosine similarities
_BLOCK = 1024  # rows whose similarities to everything else are held at once


@dataclasses.dataclass(frozen=True)
class Similarity:
    """Cosine similarity of the pairs within a cluster and of the pairs between clusters.

    `within` and `between` are `(100,)`: the pairs' share in each of `BINS`; the means are floats,
    NaN where there is no such pair.
    """

    within: np.ndarray
    between: np.ndarray
    mean_within: float
    mean_between: float


def pair_similarity(z, clusters):
    """Looks at all pairs of images.

    Args:
        z: float32 `(n, dim)`, L2-normalised.
        clusters: `(n,)` integers.

    Returns:
        `Similarity`.
    """
    pairs, totals = np.zeros((2, len(BINS) - 1)), np.zeros(2)
    for start in range(0, len(z), _BLOCK):
        row = np.arange(start, min(start + _BLOCK, len(z)))
        cosine = np.clip(z[row] @ z[start:].T, -1, 1)
        once = row[:, None] < np.arange(start, len(z))  # each pair once, none of an image's own
        same = clusters[row, None] == clusters[start:]
        for i, chosen in enumerate((once & same, once & ~same)):
            pairs[i] += np.histogram(cosine[chosen], BINS)[0]
            totals[i] += cosine[chosen].sum(dtype=np.float64)
    counts = pairs.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return Similarity(*(pairs / np.maximum(counts, 1)[:, None]), *(totals / counts).tolist())
