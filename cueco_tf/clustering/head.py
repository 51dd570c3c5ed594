"""A clustering head: clusters learnt on frozen features from who is near whom, without labels.

k-means asks for round clusters of about one width. A head asks that an image and its nearest
neighbours fall into the same cluster, with all clusters used: SCAN's objective. One head in a few
is a good one, and its loss tells which: docs/results/head.md.
"""

import dataclasses

import numpy as np
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from cueco_tf.evaluation.vectors import normalize

NEIGHBOURS = 20
ENTROPY_WEIGHT = 5.0
_MOST_ROWS = 20_000  # a random sample that the heads are trained on
_NEIGHBOUR_SHARE = 3  # no more neighbours than a third of a cluster of the mean size
_STEPS = 1000
_LEAST_BATCH, _MOST_BATCH = 512, 4096  # rows
_BATCH_PER_CLUSTER = 10  # rows, for how the clusters are used is measured on a batch
_LEARNING_RATE = 0.01
_FIRST_WEIGHTS = 0.1  # standard deviation of the first logits
_BLOCK = 2**22  # logits that are held at once


@dataclasses.dataclass(frozen=True)
class ClusteringHead:
    """A linear layer and a softmax over L2-normalised features.

    `weights` is float32 `(dim, K)` and `bias` `(K,)`; `losses` float64 `(heads,)`, of all heads
    that were trained, of which this one has the least.
    """

    weights: np.ndarray
    bias: np.ndarray
    losses: np.ndarray

    def __call__(self, x):
        """The cluster of each row.

        Args:
            x: `(n, dim)` features; rows are L2-normalised here.

        Returns:
            `(clusters, probabilities)`: int64 `(n,)` in [0, K), and float32 `(n,)`, how probable
            that cluster is to the head, at least 1/K.
        """
        clusters = np.empty(len(x), np.int64)
        confidence = np.empty(len(x), np.float32)
        rows = max(1, _BLOCK // len(self.bias))
        for start in range(0, len(x), rows):
            block = slice(start, start + rows)
            probabilities = self.probabilities(x[block])
            clusters[block] = probabilities.argmax(axis=1)
            confidence[block] = probabilities.max(axis=1)
        return clusters, confidence

    def probabilities(self, x):
        """The probability of each cluster, float32 `(n, K)`, for features `(n, dim)`."""
        return _softmax(normalize(x) @ self.weights + self.bias)


def fit_head(x, count, seed=0):
    """Trains several heads on features and keeps the one of the least loss.

    The loss of rows i, each with a random one j of its nearest neighbours by cosine, is
    `-mean log <p_i, p_j> - 5 H(mean p_i)`: neighbours agree, and the clusters are used alike (H is
    the entropy in nats), which draws clusters of unlike sizes towards one size. At most 20,000
    random rows are trained on, with 50 heads for up to 20 clusters and fewer beyond. On one thread:
    the same head on busy cores and idle ones.

    Args:
        x: `(n, dim)` finite features, n >= 2; rows are L2-normalised here.
        count: integer K in [2, n].
        seed: integer, defaults to 0.

    Returns:
        `ClusteringHead`.

    Raises:
        ValueError: for a count out of range, or features that are not finite or of another shape.

    Reference: Van Gansbeke et al., https://arxiv.org/abs/2005.12320, section 2.2.
    """
    x = np.asarray(x, np.float32)
    if x.ndim != 2 or not np.isfinite(x).all():
        raise ValueError(f"`x` should be finite and of shape (n, dim). Received shape: {x.shape}")
    if not 2 <= count <= len(x):
        raise ValueError(
            f"`count` should lie in [2, {len(x)}], as there are {len(x)} rows. "
            f"Received: count={count}"
        )
    rng = np.random.default_rng(seed)
    if len(x) > _MOST_ROWS:
        x = x[np.sort(rng.permutation(len(x))[:_MOST_ROWS])]
    x = normalize(x)
    with threadpool_limits(1):
        neighbours = _neighbours(x, count)
        mean, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
        x = (x - mean) / scale
        heads = list(zip(*_train(x, neighbours, count, rng), strict=True))
        losses = np.array([_loss(_softmax(x @ w + b), neighbours) for w, b in heads])
    weights, bias = heads[losses.argmin()]
    weights = weights / scale[:, None]
    return ClusteringHead(weights, bias - mean @ weights, losses)


def _heads(count):
    """How many heads: the more clusters, the longer one takes and the less they differ."""
    return min(50, max(3, 1000 // count))


def _neighbours(x, count):
    """The rows most similar to each: `(n, k)` integers."""
    k = min(NEIGHBOURS, max(1, len(x) // (_NEIGHBOUR_SHARE * count)))
    search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(x)
    return search.kneighbors(return_distance=False)


def _train(x, neighbours, count, rng):
    """Heads on standardised rows: their weights `(heads, dim, K)` and biases `(heads, K)`.

    All see the same batches, so one matrix product serves them.
    """
    n, dim = x.shape
    heads = _heads(count)
    first = rng.normal(0, _FIRST_WEIGHTS / np.sqrt(dim), (dim, heads * count))
    weights = [first.astype(np.float32), np.zeros(heads * count, np.float32)]
    moments = [(np.zeros_like(weight), np.zeros_like(weight)) for weight in weights]
    batch = min(n, _MOST_BATCH, max(_LEAST_BATCH, _BATCH_PER_CLUSTER * count))
    for step in range(_STEPS):
        i = rng.permutation(n)[:batch]
        j = neighbours[i, rng.integers(neighbours.shape[1], size=batch)]
        pair = x[np.concatenate([i, j])]
        logits = (pair @ weights[0] + weights[1]).reshape(2 * batch, heads, count)
        gradient = _gradient(_softmax(logits)).reshape(2 * batch, heads * count)
        rate = _LEARNING_RATE * (1 + np.cos(np.pi * step / _STEPS)) / 2
        gradients = (pair.T @ gradient, gradient.sum(axis=0))
        for weight, moment, slope in zip(weights, moments, gradients, strict=True):
            _adam(weight, moment, slope, rate, step + 1)
    shaped = weights[0].reshape(dim, heads, count).transpose(1, 0, 2)
    return shaped, weights[1].reshape(heads, count)


def _gradient(p):
    """The loss's gradient by the logits, for the probabilities `(2 b, heads, K)` of b rows and,
    below them, of a neighbour of each. Takes p's place.

    Of `-log <p_i, p_j>` it is, by either's logits, p less the two's posterior; the entropy's goes
    through the softmax of the first b rows.
    """
    b = len(p) // 2
    both = p[:b] * p[b:]
    both /= np.maximum(both.sum(axis=-1, keepdims=True), 1e-12)
    slope = ENTROPY_WEIGHT * np.log(p[:b].mean(axis=0) + 1e-8)  # (heads, K)
    of_use = np.einsum("bhk,hk->bh", p[:b], slope)
    of_use = p[:b] * (slope - of_use[..., None])
    p[:b] += of_use - both
    p[b:] -= both
    p /= b
    return p


def _adam(weight, moment, slope, rate, step):
    """Adam's update in place (Kingma and Ba, https://arxiv.org/abs/1412.6980, algorithm 1)."""
    first, second = moment
    first += 0.1 * (slope - first)
    second += 0.001 * (slope**2 - second)
    unbiased = np.sqrt(second / (1 - 0.999**step))
    weight -= rate / (1 - 0.9**step) * first / (unbiased + 1e-8)


def _loss(p, neighbours):
    """The objective on all rows and all their neighbours, for probabilities `(n, K)`."""
    agreement = 0.0
    for column in neighbours.T:
        same = np.einsum("nk,nk->n", p, p[column])
        agreement += np.mean(np.log(np.maximum(same, 1e-12)), dtype=np.float64)
    use = p.mean(axis=0, dtype=np.float64)
    entropy = -np.sum(use * np.log(use + 1e-8))
    return -agreement / neighbours.shape[1] - ENTROPY_WEIGHT * entropy


def _softmax(logits):
    """Softmax over the last axis, in place."""
    logits -= logits.max(axis=-1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=-1, keepdims=True)
    return logits
