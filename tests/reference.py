"""The paper's formulas in float64 NumPy, as slow and as plain as they come."""

import numpy as np


def unit(x):
    x = np.asarray(x, np.float64)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def random_units(rng, count, dim):
    return unit(rng.normal(size=(count, dim)))


def info_nce(queries, keys, negatives, temperature):
    losses = []
    for query, key in zip(queries, keys, strict=True):
        positive = np.exp(query @ key / temperature)
        negative = sum(np.exp(query @ other / temperature) for other in negatives)
        losses.append(-np.log(positive / (positive + negative)))
    return np.array(losses)


def centroid_contrast(queries, centroids, assignments, temperature):
    losses = []
    for query, own in zip(queries, assignments, strict=True):
        terms = [np.exp(query @ centroid / temperature) for centroid in centroids]
        losses.append(-np.log(terms[own] / sum(terms)))
    return np.array(losses)


def cluster_variance(queries, centroids, variances, assignments, epsilon=1e-6):
    return np.array(
        [
            np.sum((query - centroids[own]) ** 2) / (2 * variances[own] + epsilon)
            for query, own in zip(queries, assignments, strict=True)
        ]
    )


def update(centroids, variances, keys, assignments, beta1, beta2, floor):
    centroids, variances = np.array(centroids, np.float64), np.array(variances, np.float64)
    for i in range(len(centroids)):
        members = keys[assignments == i]
        if len(members):
            centroids[i] = unit(beta1 * centroids[i] + (1 - beta1) * members.mean(axis=0))
            spread = np.mean(np.sum((members - centroids[i]) ** 2, axis=1))
            variances[i] = max(beta2 * variances[i] + (1 - beta2) * spread, floor)
    return centroids, variances


def softmax_loss(logits, target):
    """-log of the softmax's share of one entry."""
    return -np.log(np.exp(logits[target]) / sum(np.exp(logit) for logit in logits))


def moco_v2(queries, keys, queues, temperature):
    """Of lists, an item a direction."""
    directions = zip(queries, keys, queues, strict=True)
    return np.mean(
        [info_nce(unit(q), unit(k), queue, temperature) for q, k, queue in directions], 0
    )


def nt_xent(one, other, temperature):
    """The mean of the two losses of each image."""
    everyone = unit(np.concatenate([one, other]))
    count, losses = len(one), []
    for i, view in enumerate(everyone):
        logits = [view @ each / temperature for j, each in enumerate(everyone) if j != i]
        partner = (i + count) % (2 * count)
        losses.append(softmax_loss(logits, partner - (partner > i)))
    return (np.array(losses[:count]) + losses[count:]) / 2


def byol(predictions, targets):
    """Of lists, an item a direction: the squared distances of unit vectors, added."""
    pairs = zip(predictions, targets, strict=True)
    return sum(np.sum((unit(p) - unit(t)) ** 2, axis=1) for p, t in pairs)


def vicreg(one, other):
    """Invariance, variance and covariance, repeated for each image."""
    variance = covariance = 0
    for z in (np.asarray(one, np.float64), np.asarray(other, np.float64)):
        (count, dim), mean = z.shape, z.mean(axis=0)
        for i in range(dim):
            spread = np.sum((z[:, i] - mean[i]) ** 2) / (count - 1)
            variance += max(0, 1 - np.sqrt(spread + 1e-4)) / dim
            for j in set(range(dim)) - {i}:
                both = np.sum((z[:, i] - mean[i]) * (z[:, j] - mean[j])) / (count - 1)
                covariance += both**2 / dim
    invariance = np.mean((np.asarray(one, np.float64) - other) ** 2, axis=1)
    return invariance, np.full(count, variance), np.full(count, covariance)


def sinkhorn(scores, epsilon):
    """The shares of each row in L columns, as SwAV's listing makes them."""
    codes = np.exp(np.asarray(scores, np.float64) / epsilon)
    codes /= codes.sum()
    for _ in range(3):
        codes /= codes.sum(axis=0) * codes.shape[1]
        codes /= codes.sum(axis=1, keepdims=True) * len(codes)
    return codes * len(codes)


def swav(one, other, prototypes, queues, temperature):
    """The mean of the two swaps; the queues are of unit vectors, one a view."""
    scores = [unit(z) @ prototypes.T for z in (one, other)]
    codes = [
        sinkhorn(np.concatenate([own, queue @ prototypes.T]), 0.05)[: len(own)]
        for own, queue in zip(scores, queues, strict=True)
    ]
    return np.array(
        [
            sum(
                share * softmax_loss(predicted[i] / temperature, cluster) / 2
                for code, predicted in zip(codes, scores[::-1], strict=True)
                for cluster, share in enumerate(code[i])
            )
            for i in range(len(one))
        ]
    )


def moco_v3(predictions, keys, temperature):
    """Of lists, an item a direction: the two cross-entropies, added, times 2 tau."""
    losses = 0
    for queries, others in zip(predictions, keys, strict=True):
        logits = unit(queries) @ unit(others).T / temperature
        losses += np.array([softmax_loss(row, i) for i, row in enumerate(logits)])
    return 2 * temperature * losses
