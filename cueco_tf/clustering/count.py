"""How many clusters there are, asked of the embeddings alone."""

import dataclasses

import numpy as np
from sklearn.metrics import adjusted_rand_score, silhouette_score

from cueco_tf.clustering.tree import default_leaves, grow

LEAST_IMAGES = 20  # below, resamples say nothing
_RESAMPLES = 6
_RESAMPLED = 5_000  # rows of a resample: half of all, these at most
_LEAVES = 400
_PROBED = 1_000  # rows that all resamples' clusters are compared on
_MOST_CLUSTERS = 200
_EACH_TO, _BEYOND = 20, 12  # every count to the first, then so many in geometric steps


@dataclasses.dataclass(frozen=True)
class Curve:
    """What was tried, and what was chosen.

    `counts` is `(c,)` integers; `silhouettes` and `agreements` `(c,)` are means over the resamples,
    `scores` `(c,)` of their product; `chosen` is one of the counts. `picks` `(resamples,)` are the
    counts that each resample alone would choose.
    """

    counts: np.ndarray
    silhouettes: np.ndarray
    agreements: np.ndarray
    scores: np.ndarray
    chosen: int
    picks: np.ndarray

    def agreement(self):
        """The agreement of the resamples at the chosen count, a float."""
        return float(self.agreements[self.counts == self.chosen][0])

    def verdict(self):
        """How sure the choice is: `"sure"`, `"fair"` or `"unsure"`.

        Sure where the resamples agree on who belongs together (0.8 and more) and on the count
        within a quarter; unsure where they agree below 0.5, or the largest pick is more than twice
        the smallest.
        """
        spread = self.picks.max() / self.picks.min()
        if self.agreement() >= 0.8 and spread <= 1.25:
            return "sure"
        return "unsure" if self.agreement() < 0.5 or spread > 2 else "fair"


def choose_count(x, seed=0):
    """Chooses the number of clusters by silhouette and stability.

    Six trees are grown from random halves of the rows, each is cut at every count, and each cut
    sorts the same probe. A count's score is the silhouette of the probe's clusters (how much nearer
    a row is to its own cluster than to the next) times their agreement with those of the other
    trees (adjusted Rand index). The smallest count whose score is within a standard error of the
    best is taken.

    Args:
        x: float32 `(n, dim)`, L2-normalised, n >= 20, not all alike.
        seed: integer, defaults to 0.

    Returns:
        `Curve`.

    Reference: Ben-Hur et al. 2002 (stability); Rousseeuw 1987 (silhouette).
    """
    rng = np.random.default_rng(seed)
    probe = x[rng.permutation(len(x))[:_PROBED]]
    distances = np.sqrt(np.maximum(2 - 2 * probe @ probe.T, 0))
    np.fill_diagonal(distances, 0)
    size = min(len(x) // 2, _RESAMPLED)
    trees = [
        grow(x[rng.permutation(len(x))[:size]], seed + i, min(max(2, size // 2), _LEAVES))
        for i in range(_RESAMPLES)
    ]
    counts = _candidates(min(len(probe) // 4, default_leaves(len(x)), *map(len, trees)))
    found = np.stack([tree.cut(counts.tolist())[:, tree.leaf_of(probe)] for tree in trees], 1)
    # (counts, resamples)
    silhouettes = np.array([[_silhouette(distances, own) for own in each] for each in found])
    agreements = np.array([_agreements(each) for each in found])
    scores = np.maximum(silhouettes, 0) * agreements
    mean = scores.mean(axis=1)
    error = scores.std(axis=1, ddof=1) / np.sqrt(_RESAMPLES)
    chosen = counts[mean >= mean.max() - error[mean.argmax()]][0]
    picks = counts[scores.argmax(axis=0)]
    return Curve(
        counts, silhouettes.mean(axis=1), agreements.mean(axis=1), mean, int(chosen), picks
    )


def _candidates(most):
    """Counts from two on, all of the small ones."""
    most = max(2, min(most, _MOST_CLUSTERS))
    beyond = np.geomspace(_EACH_TO, _MOST_CLUSTERS, _BEYOND).round().astype(int)
    counts = np.union1d(np.arange(2, _EACH_TO + 1), beyond)
    return counts[counts <= most]


def _silhouette(distances, clusters):
    """The mean silhouette; 0 where the probe lies in one cluster, or each row in its own."""
    if not 1 < len(np.unique(clusters)) < len(clusters):
        return 0.0
    return silhouette_score(distances, clusters, metric="precomputed")


def _agreements(found):
    """The mean agreement of each clustering with the others."""
    each = np.zeros((len(found), len(found)))
    for i in range(len(found)):
        for j in range(i):
            each[i, j] = each[j, i] = adjusted_rand_score(found[i], found[j])
    return each.sum(axis=1) / (len(found) - 1)
