"""`cueco_tf.parts.clusters` in PyTorch, without a look at the device: what can be recorded as a
CUDA graph. Needs the extra `bench`."""

import math

import torch
from torch.nn import functional

from cueco_tf.parts.clusters import DEAD_SHARE, KMEANS_ITERATIONS, SEEDING_ROUNDS, USAGE_HORIZON


def assign(vectors, centroids):
    """The most similar of `(L, dim)` centroids of each `(n, dim)` vector: `(n,)` int64."""
    return (vectors @ centroids.T).argmax(1)


def _sums(values, assignments, num_clusters):
    zeros = values.new_zeros((num_clusters, *values.shape[1:]))
    return zeros.index_add_(0, assignments, values)


def _counts(assignments, num_clusters):
    return _sums(torch.ones_like(assignments, dtype=torch.float32), assignments, num_clusters)


def _squared_distances(vectors, centroids, assignments):
    return (vectors - centroids[assignments]).square().sum(1)


def update(centroids, variances, keys, assignments, momenta, floor):
    """A step of momentum clustering: `(centroids, variances)`; `momenta` are theirs."""
    count = len(centroids)
    size = _counts(assignments, count)
    occupied, divisor = size > 0, size.clamp(min=1.0)
    mean = _sums(keys, assignments, count) / divisor[:, None]
    moved = functional.normalize(momenta[0] * centroids + (1.0 - momenta[0]) * mean)
    centroids = torch.where(occupied[:, None], moved, centroids)
    spread = _sums(_squared_distances(keys, centroids, assignments), assignments, count) / divisor
    spread = (momenta[1] * variances + (1.0 - momenta[1]) * spread).clamp(min=floor)
    return centroids, torch.where(occupied, spread, variances)


def update_usage(usage, assignments):
    """Moves the average shares `(L,)` towards those of this batch."""
    decay = math.exp(-len(assignments) / (USAGE_HORIZON * len(usage)))
    share = _counts(assignments, len(usage)) / len(assignments)
    return decay * usage + (1.0 - decay) * share


def reseed(centroids, variances, usage, keys, uniforms):
    """Gives every dead cluster, if there is one, a new life: `(centroids, variances, usage)`."""
    count = len(centroids)
    dead = usage < DEAD_SHARE / count
    similarity = (keys @ centroids.T).amax(1)
    gumbel = -torch.log(-torch.log(uniforms.clamp(1e-7, 1.0 - 1e-7)))
    score = torch.log((1.0 - similarity).clamp(min=1e-12)) + gumbel
    rank = (dead.long().cumsum(0) - 1).clamp(min=0)
    new = keys[score.topk(count).indices[rank]]
    alive = (~dead).float()
    mean_variance = (variances * alive).sum() / alive.sum().clamp(min=1.0)
    mended = torch.where(dead, 1.0 / count, usage)
    return (
        torch.where(dead[:, None], new, centroids),
        torch.where(dead, mean_variance, variances),
        torch.where(dead.any(), mended / mended.sum(), usage),
    )


def spherical_kmeans(vectors, uniforms, floor):
    """k-means of `(n, dim)` unit vectors, as CueCo's: `(centroids, variances, usage)`.

    Args:
        vectors: `(n, dim)`, n >= L.
        uniforms: `(L, trials)` in [0, 1).
        floor: float > 0, below which no variance falls.
    """
    centroids, count = _kmeans_plus_plus(vectors, uniforms), len(uniforms)
    for _ in range(KMEANS_ITERATIONS):
        assignments = assign(vectors, centroids)
        moved = functional.normalize(_sums(vectors, assignments, count))
        occupied = _counts(assignments, count) > 0
        centroids = torch.where(occupied[:, None], moved, centroids)
    assignments = assign(vectors, centroids)
    size = _counts(assignments, count)
    spread = _sums(_squared_distances(vectors, centroids, assignments), assignments, count)
    return centroids, (spread / size.clamp(min=1.0)).clamp(min=floor), size / len(vectors)


def _kmeans_plus_plus(vectors, uniforms):
    """Starting centroids `(L, dim)`, several a round as in CueCo."""
    count, trials = uniforms.shape
    each = -(-count // SEEDING_ROUNDS)  # centroids a round
    rounds = -(-count // each)
    uniforms = functional.pad(uniforms, (0, 0, 0, rounds * each - count))
    shares = torch.arange(each, device=vectors.device)[:, None]
    first = torch.arange(each, device=vectors.device) * trials
    nearest, chosen = torch.full_like(vectors[:, 0], 4.0), []
    for drawn in uniforms.reshape(rounds, each, trials):
        cumulative = nearest.cumsum(0)
        drawn = (shares + drawn) / each * cumulative[-1]
        index = torch.searchsorted(cumulative, drawn.reshape(-1), right=True)
        candidates = vectors[index.clamp(max=len(vectors) - 1)]
        distance = (2.0 - 2.0 * vectors @ candidates.T).clamp(min=1e-12)
        distance = torch.minimum(nearest[:, None], distance)
        best = distance.sum(0).reshape(each, trials).argmin(1) + first
        nearest = distance[:, best].amin(1)
        chosen.append(candidates[best])
    return torch.cat(chosen)[:count]
