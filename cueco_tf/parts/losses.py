"""The losses of all methods: pure functions, one value an example.

Vectors are expected to be L2-normalised where nothing else is said. Nothing is averaged over the
batch and no state is touched: the training step decides how values are reduced, which keeps the
losses right under `tf.distribute` as well.
"""

import math

from keras import ops

from cueco_tf.settings.rules import MINIMUM_TEMPERATURE


def _check_temperature(value):
    # A schedule may pass a tensor; only a plain number can be checked here.
    if isinstance(value, (int, float)) and not MINIMUM_TEMPERATURE <= value < math.inf:
        rule = "positive" if not value > 0 else f"finite and at least {MINIMUM_TEMPERATURE}"
        raise ValueError(f"`temperature` should be {rule}. Received: temperature={value}")


def info_nce(queries, keys, negatives, temperature):
    """Contrastive loss of each query against its key and a queue of other images' keys.

    With s the cosine similarities divided by the temperature, it is
    -log(exp(s+) / (exp(s+) + sum_k exp(s_k))). When every similarity is the same the encoder
    tells nothing apart and the value is log(K + 1): a loss that stays there means collapse.

    Args:
        queries: `(batch, dim)`, L2-normalised.
        keys: `(batch, dim)`, L2-normalised: row i is the positive of query i.
        negatives: `(K, dim)`: the queued keys, which must not hold the positives.
        temperature: float >= 1e-4.

    Returns:
        `(batch,)`, in [0, inf).

    Raises:
        ValueError: if `temperature` is below 1e-4.

    Reference: CueCo, equation of L1; MoCo, https://arxiv.org/abs/1911.05722, equation 1.
    """
    _check_temperature(temperature)
    positive = ops.sum(queries * keys, axis=-1) / temperature  # (batch,)
    negative = ops.matmul(queries, ops.transpose(negatives)) / temperature  # (batch, K)
    # log(e^p + sum e^n) - p without joining the two into one (batch, K + 1) matrix.
    return ops.softplus(ops.logsumexp(negative, axis=-1) - positive)


def centroid_contrast(queries, centroids, assignments, temperature):
    """Contrastive loss of each query against its cluster's centroid and all the others.

    This is the cross-entropy of a softmax over the L centroids. The poster's sum may be read
    as counting the assigned centroid twice, which would put a floor of log 2 under the loss; by
    analogy with `info_nce`, whose negatives never hold the positive, it is counted once.

    Args:
        queries: `(batch, dim)`, L2-normalised.
        centroids: `(L, dim)`, L2-normalised.
        assignments: `(batch,)` integers in [0, L): the cluster of each query.
        temperature: float >= 1e-4.

    Returns:
        `(batch,)`, in [0, inf).

    Raises:
        ValueError: if `temperature` is below 1e-4.

    Reference: CueCo, equation of L2.
    """
    _check_temperature(temperature)
    own = ops.take(centroids, assignments, axis=0)  # (batch, dim)
    positive = ops.sum(queries * own, axis=-1) / temperature  # (batch,)
    logits = ops.matmul(queries, ops.transpose(centroids)) / temperature  # (batch, L)
    return ops.logsumexp(logits, axis=-1) - positive


def cluster_variance(queries, centroids, variances, assignments, epsilon=1e-6):
    """Squared distance of each query to its centroid, in units of the cluster's own spread.

    Dividing by the variance makes the pull strong in tight clusters and gentle in loose ones.
    The loss is free of scale: shrinking queries and variances together leaves it unchanged, so
    the variances need a floor (see `clusters.VARIANCE_FLOOR`).

    Args:
        queries: `(batch, dim)`, L2-normalised.
        centroids: `(L, dim)`, L2-normalised.
        variances: `(L,)`, each cluster's mean squared Euclidean distance, positive.
        assignments: `(batch,)` integers in [0, L).
        epsilon: float >= 0, added to the denominator. Defaults to 1e-6.

    Returns:
        `(batch,)`: ||z - c||^2 / (2 sigma^2 + epsilon), in [0, inf).

    Reference: CueCo, equation of L3.
    """
    own = ops.take(centroids, assignments, axis=0)  # (batch, dim)
    squared_distance = ops.sum(ops.square(queries - own), axis=-1)  # (batch,)
    return squared_distance / (2.0 * ops.take(variances, assignments, axis=0) + epsilon)


def nt_xent(views, everyone, own, partners, temperature):
    """Contrastive loss of each view against its partner and all other views of the batch.

    Where all are alike it is log(2 N - 1).

    Args:
        views: `(n, dim)`, L2-normalised.
        everyone: `(2 N, dim)`, L2-normalised: both views of the N images of all replicas.
        own: `(n,)` integers: where each view stands in `everyone`.
        partners: `(n,)` integers: where the other view of its image stands.
        temperature: float >= 1e-4.

    Returns:
        `(n,)`, in [0, inf).

    Raises:
        ValueError: if `temperature` is below 1e-4.

    Reference: SimCLR, https://arxiv.org/abs/2002.05709, equation 1.
    """
    _check_temperature(temperature)
    logits = ops.matmul(views, ops.transpose(everyone)) / temperature  # (n, 2 N)
    positive = ops.sum(views * ops.take(everyone, partners, axis=0), axis=-1) / temperature
    itself = ops.equal(ops.arange(ops.shape(everyone)[0], dtype=own.dtype), own[:, None])
    return ops.logsumexp(ops.where(itself, -1e9, logits), axis=-1) - positive


def regression(predictions, targets):
    """Squared distance of the directions of prediction and target, 2 - 2 cos.

    Args:
        predictions: `(n, dim)`, of any length.
        targets: `(n, dim)`, of any length.

    Returns:
        `(n,)`, in [0, 4]; 2 where they are orthogonal.

    Reference: BYOL, https://arxiv.org/abs/2006.07733, equation 2.
    """
    cosine = ops.sum(ops.normalize(predictions) * ops.normalize(targets), axis=-1)
    return 2.0 - 2.0 * cosine


def variance_and_covariance(z):
    """How far the numbers of z are from varying by 1 each and from being uncorrelated.

    Args:
        z: `(N, dim)`, of any length: the projections of a view of the images of all replicas.

    Returns:
        Two scalars: the mean over the numbers of max(0, 1 - sqrt(variance + 1e-4)), in [0, 0.99];
        and the sum of the squared covariances of each two, divided by dim.

    Reference: VICReg, https://arxiv.org/abs/2105.04906, equations 1 to 4.
    """
    count, dim = ops.cast(ops.shape(z)[0], z.dtype), z.shape[1]
    centred = z - ops.mean(z, axis=0)
    covariance = ops.matmul(ops.transpose(centred), centred) / ops.maximum(count - 1.0, 1.0)
    variances = ops.diagonal(covariance)  # (dim,)
    too_small = ops.relu(1.0 - ops.sqrt(variances + 1e-4))
    others = ops.sum(ops.square(covariance)) - ops.sum(ops.square(variances))
    return ops.mean(too_small), others / dim


def swapped_prediction(scores, codes, temperature):
    """Cross-entropy of a view's prediction to the other view's shares in the prototypes.

    Where all scores of an image are alike it is log L.

    Args:
        scores: `(n, L)`: the cosines of a view to the prototypes.
        codes: `(n, L)`, rows of sum 1: the other view's shares.
        temperature: float >= 1e-4.

    Returns:
        `(n,)`, in [0, inf).

    Raises:
        ValueError: if `temperature` is below 1e-4.

    Reference: SwAV, https://arxiv.org/abs/2006.09882, equation 2.
    """
    _check_temperature(temperature)
    return -ops.sum(codes * ops.log_softmax(scores / temperature, axis=-1), axis=-1)


def in_batch(queries, keys, own, temperature):
    """Contrastive loss of each query against its key and those of the batch's other images.

    Multiplied by twice the temperature, so that it pulls alike at all of them. Where all are alike
    it is 2 temperature log N.

    Args:
        queries: `(n, dim)`, L2-normalised.
        keys: `(N, dim)`, L2-normalised: of the images of all replicas.
        own: `(n,)` integers: where each query's positive stands in `keys`.
        temperature: float >= 1e-4.

    Returns:
        `(n,)`, in [0, inf).

    Raises:
        ValueError: if `temperature` is below 1e-4.

    Reference: MoCo-v3, https://arxiv.org/abs/2104.02057, equation 1 and algorithm 1.
    """
    _check_temperature(temperature)
    logits = ops.matmul(queries, ops.transpose(keys)) / temperature  # (n, N)
    positive = ops.sum(queries * ops.take(keys, own, axis=0), axis=-1) / temperature
    return 2.0 * temperature * (ops.logsumexp(logits, axis=-1) - positive)
