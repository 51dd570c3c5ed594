"""The mathematics of momentum clustering: pure functions of centroids, variances, usage and keys.

`momentum_clusters` owns the state. A vector is always L2-normalised, so that a centroid is a
direction and similarity is a dot product.
"""

import math

from keras import ops

# L3 is free of scale, so nothing but a floor stops the variances from shrinking for ever. Squared
# distances on the unit sphere lie in [0, 4]; 0.01 is a cosine similarity of 0.995.
VARIANCE_FLOOR = 0.01

# A cluster is dead when its share of the assignments falls below this part of the fair share, 1/L.
DEAD_SHARE = 0.1

# The usage average looks back over as many images as give a healthy cluster this many of them.
# A horizon in steps would kill healthy clusters by chance when there are more clusters than images
# in a batch; with 100 expected images, falling below a tenth by chance does not happen.
USAGE_HORIZON = 100

KMEANS_ITERATIONS = 25
SEEDING_ROUNDS = 128  # at most, of choosing its starting centroids


def normalize(vectors):
    """Rows scaled to Euclidean norm 1, in float32. A zero row stays zero."""
    vectors = ops.cast(vectors, "float32")
    norm = ops.sqrt(ops.sum(ops.square(vectors), axis=-1, keepdims=True))
    return vectors / ops.maximum(norm, 1e-12)


def assign(vectors, centroids):
    """The most similar centroid of each vector.

    Args:
        vectors: `(n, dim)`.
        centroids: `(L, dim)`.

    Returns:
        `(n,)` int32 in [0, L); the first of equals.
    """
    return ops.argmax(ops.matmul(vectors, ops.transpose(centroids)), axis=-1)


def squared_distances(vectors, centroids, assignments):
    """Squared Euclidean distance of each `(n, dim)` vector to its own centroid, `(n,)`."""
    return ops.sum(ops.square(vectors - ops.take(centroids, assignments, axis=0)), axis=-1)


def counts(assignments, num_clusters):
    """How many vectors each cluster holds: `(L,)` float32."""
    ones = ops.ones_like(assignments, dtype="float32")
    return ops.segment_sum(ones, assignments, num_segments=num_clusters)


def update(
    centroids,
    variances,
    keys,
    assignments,
    centroid_momentum,
    variance_momentum,
    variance_floor=VARIANCE_FLOOR,
):
    """One step of momentum clustering.

    First the centroids move towards the mean of their keys and go back to norm 1; then each
    variance moves towards the mean squared distance of its keys to the *new* centroid (with the
    batch mean in its place, a cluster with a single key would have variance 0). Clusters without a
    key in this batch stay exactly as they are.

    Args:
        centroids: `(L, dim)`, L2-normalised.
        variances: `(L,)`, positive.
        keys: `(batch, dim)`, L2-normalised.
        assignments: `(batch,)` integers in [0, L).
        centroid_momentum: float in [0, 1], beta 1.
        variance_momentum: float in [0, 1], beta 2.
        variance_floor: float in (0, 4]. Defaults to `VARIANCE_FLOOR`.

    Returns:
        `(centroids, variances)`; variances never fall below the floor.

    Reference: CueCo, section on momentum clustering.
    """
    num_clusters = centroids.shape[0]
    size = counts(assignments, num_clusters)  # (L,)
    occupied = size > 0
    divisor = ops.maximum(size, 1.0)

    mean = ops.segment_sum(keys, assignments, num_segments=num_clusters) / divisor[:, None]
    moved = normalize(centroid_momentum * centroids + (1.0 - centroid_momentum) * mean)
    centroids = ops.where(occupied[:, None], moved, centroids)  # (L, dim)

    spread = squared_distances(keys, centroids, assignments)  # (batch,)
    spread = ops.segment_sum(spread, assignments, num_segments=num_clusters) / divisor
    spread = variance_momentum * variances + (1.0 - variance_momentum) * spread
    variances = ops.where(occupied, ops.maximum(spread, variance_floor), variances)
    return centroids, variances


def update_usage(usage, assignments):
    """Moves the average share of assignments towards this batch's shares.

    Args:
        usage: `(L,)`, shares that sum to 1.
        assignments: `(batch,)` integers in [0, L).

    Returns:
        `(L,)`, shares that sum to 1.
    """
    num_clusters = usage.shape[0]
    batch = ops.cast(ops.shape(assignments)[0], "float32")
    decay = ops.exp(-batch / (USAGE_HORIZON * num_clusters))
    return decay * usage + (1.0 - decay) * counts(assignments, num_clusters) / batch


def usage_entropy(usage):
    """Entropy of the shares divided by log L: 1 when all clusters are used alike, 0 when one is
    used alone (or none yet)."""
    share = usage / ops.maximum(ops.sum(usage), 1e-12)
    surprise = -ops.log(ops.maximum(share, 1e-12))
    return ops.sum(share * surprise) / math.log(usage.shape[0])


def is_dead(usage):
    """`(L,)` booleans: the share has fallen below `DEAD_SHARE` of the fair share."""
    return usage < DEAD_SHARE / usage.shape[0]


def kmeans_plus_plus(vectors, uniforms):
    """Chooses starting centroids that lie far apart (greedy k-means++).

    Up to `SEEDING_ROUNDS` they are chosen one after the other; more of them several a round, each
    drawn from a share of its own of the distances that are left. That is as many times fewer
    operations in a row. Inertia after k-means beside one a round, 4096 vectors, 1000 clusters:
    pixels and features of CIFAR-100 +0.1 and -0.1 %, made clusters +0.0 %.

    Args:
        vectors: `(n, dim)`, L2-normalised.
        uniforms: `(L, trials)` independent draws from [0, 1): the randomness, passed in so that
            the choice is a function of its arguments. Of as many trials the best is taken for
            each centroid; see `seeding_trials`.

    Returns:
        `(L, dim)`: rows of `vectors`.

    Reference: Arthur and Vassilvitskii, "k-means++: The Advantages of Careful Seeding", 2007.
    """
    (num_clusters, trials), count = uniforms.shape, vectors.shape[0]
    each = -(-num_clusters // SEEDING_ROUNDS)  # centroids a round
    rounds = -(-num_clusters // each)
    uniforms = ops.pad(uniforms, ((0, rounds * each - num_clusters), (0, 0)))
    uniforms = ops.reshape(uniforms, (rounds, each, trials))
    shares = ops.arange(each, dtype="float32")[:, None]

    def add(i, state):
        centroids, nearest = state
        cumulative = ops.cumsum(nearest)
        drawn = (shares + uniforms[i]) / each * cumulative[-1]  # (each, trials)
        index = ops.searchsorted(cumulative, ops.reshape(drawn, (-1,)), side="right")
        candidates = ops.take(vectors, ops.minimum(index, count - 1), axis=0)
        distance = 2.0 - 2.0 * ops.matmul(vectors, ops.transpose(candidates))
        # The tiny constant keeps a weight on every vector when all are chosen or equal.
        distance = ops.minimum(nearest[:, None], ops.maximum(distance, 1e-12))
        potential = ops.reshape(ops.sum(distance, axis=0), (each, trials))
        best = ops.argmin(potential, axis=1) + trials * ops.arange(each, dtype="int32")
        # `distance[:, best]` would be a constant to XLA, which compiles it anew for each draw.
        nearest = ops.min(ops.take(distance, best, axis=1), axis=1)
        chosen = ops.take(candidates, best, axis=0)
        return ops.slice_update(centroids, (i * each, 0), chosen), nearest

    # No distance exceeds 4, so the first choice is uniform.
    state = (ops.zeros((rounds * each, vectors.shape[1])), 4.0 * ops.ones((count,)))
    return ops.fori_loop(0, rounds, add, state)[0][:num_clusters]


def seeding_trials(num_clusters):
    """Candidates for each starting centroid: 2 + log L, as in scikit-learn."""
    return 2 + int(math.log(num_clusters))


def spherical_kmeans(
    vectors, uniforms, iterations=KMEANS_ITERATIONS, variance_floor=VARIANCE_FLOOR
):
    """k-means on the unit sphere: cosine similarity, centroids of norm 1.

    Args:
        vectors: `(n, dim)`, L2-normalised, n >= L.
        uniforms: `(L, trials)` independent draws from [0, 1), see `kmeans_plus_plus`.
        iterations: integer >= 1. Defaults to 25.
        variance_floor: float in (0, 4]. Defaults to `VARIANCE_FLOOR`.

    Returns:
        `(centroids, variances, usage)`: `(L, dim)`; `(L,)`, each cluster's mean squared distance,
        not below the floor; `(L,)`, its share of the vectors.
    """
    num_clusters = uniforms.shape[0]

    def improve(_, centroids):
        assignments = assign(vectors, centroids)
        # The mean's length does not matter on the sphere. An empty cluster keeps its centroid.
        total = ops.segment_sum(vectors, assignments, num_segments=num_clusters)
        empty = counts(assignments, num_clusters) == 0
        return ops.where(empty[:, None], centroids, normalize(total))

    centroids = ops.fori_loop(0, iterations, improve, kmeans_plus_plus(vectors, uniforms))
    assignments = assign(vectors, centroids)
    size = counts(assignments, num_clusters)
    spread = squared_distances(vectors, centroids, assignments)
    spread = ops.segment_sum(spread, assignments, num_segments=num_clusters)
    variances = ops.maximum(spread / ops.maximum(size, 1.0), variance_floor)
    return centroids, variances, size / vectors.shape[0]


def reseed(centroids, variances, usage, keys, uniforms):
    """Gives every dead cluster a new life at a key that the living ones serve badly.

    Keys are drawn without replacement with weights proportional to their squared distance to the
    nearest centroid (as in k-means++). A new cluster gets the mean variance and the mean usage, so
    that it has time to gather images before it is judged again.

    Args:
        centroids: `(L, dim)`.
        variances: `(L,)`.
        usage: `(L,)`, shares that sum to 1.
        keys: `(K, dim)`, K >= L: the queue.
        uniforms: `(K,)` independent draws from (0, 1).

    Returns:
        `(centroids, variances, usage)`.
    """
    num_clusters = centroids.shape[0]
    dead = is_dead(usage)  # (L,)
    similarity = ops.max(ops.matmul(keys, ops.transpose(centroids)), axis=-1)  # (K,)
    # The largest of log(weight) + Gumbel noise are a weighted draw without replacement.
    gumbel = -ops.log(-ops.log(ops.clip(uniforms, 1e-7, 1.0 - 1e-7)))
    score = ops.log(ops.maximum(1.0 - similarity, 1e-12)) + gumbel
    _, candidates = ops.top_k(score, num_clusters)  # (L,)
    rank = ops.maximum(ops.cumsum(ops.cast(dead, "int32")) - 1, 0)  # (L,)
    new = ops.take(keys, ops.take(candidates, rank), axis=0)  # (L, dim)

    alive = ops.cast(ops.logical_not(dead), "float32")
    mean_variance = ops.sum(variances * alive) / ops.maximum(ops.sum(alive), 1.0)
    centroids = ops.where(dead[:, None], new, centroids)
    variances = ops.where(dead, mean_variance, variances)
    usage = ops.where(dead, 1.0 / num_clusters, usage)
    return centroids, variances, usage / ops.sum(usage)
