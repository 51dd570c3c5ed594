"""Clusters as a trained encoder sees them, which is not quite as it was trained with them."""

import keras
import numpy as np
from keras import ops

from cueco_tf.parts.clusters import KMEANS_ITERATIONS, assign, counts, normalize

_ROUNDS = 4  # of k-means, between which empty clusters begin anew
_BLOCK = 4096  # vectors whose similarities to all clusters are held at once


class SettledClusters(keras.layers.Layer):
    """The directions that images are assigned to once training is over.

    They are no part of training: going on with it, the clusters that are learnt go on from what
    they were. Weights: `settled`, float32 `(num_clusters, dim)`; `settled_at`, int64, the step
    whose encoder they are for, -1 where there are none yet.

    Args:
        num_clusters: integer >= 2, L.
        dim: integer >= 1, the length of z.
    """

    def __init__(self, num_clusters, dim, **kwargs):
        super().__init__(**kwargs)
        state = dict(trainable=False, aggregation="only_first_replica")
        self.settled = self.add_weight(
            shape=(num_clusters, dim), initializer="zeros", dtype="float32", name="settled", **state
        )
        self.settled_at = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(-1),
            dtype="int64",
            name="settled_at",
            **state,
        )
        self.built = True

    def load_own_variables(self, store):
        """As in Keras; a file that was saved without settled clusters leaves none."""
        if len(store.keys()):
            super().load_own_variables(store)

    def put(self, directions, step):
        """Takes over unit vectors `(num_clusters, dim)` for the encoder of a step."""
        self.settled.assign(directions)
        self.settled_at.assign(step)

    def at(self, step):
        """The directions for the encoder of this step, a `(num_clusters, dim)` array, or None."""
        return self.settled.numpy() if int(self.settled_at.numpy()) == step else None


def settle(z, directions, draw):
    """Moves clusters to where an encoder puts its images: k-means on the unit sphere that begins
    with them.

    A cluster keeps its number. One that is left empty begins anew at an image that the others serve
    badly, drawn as k-means++ does: by squared distance to the nearest of them.

    Args:
        z: float32 `(n, dim)`, L2-normalised projections of images.
        directions: float32 `(L, dim)`, L2-normalised.
        draw: function of a shape that returns uniform random numbers.

    Returns:
        float32 `(L, dim)`; none of them empty where there are at least L different images, but for
        the least of chances.
    """
    z, directions = np.asarray(z, np.float32), np.array(directions)
    for uniforms in ops.convert_to_numpy(draw((_ROUNDS, len(directions)))):
        directions = _kmeans(z, directions)
        own = nearest(z, directions)
        size = np.bincount(own, minlength=len(directions))
        empty = np.flatnonzero(size == 0)[: len(z) - np.count_nonzero(size)]
        if not len(empty):
            break
        distance = np.maximum(1.0 - np.sum(z * directions[own], axis=1, dtype=np.float64), 1e-12)
        for cluster, uniform in zip(empty, uniforms, strict=False):
            shares = np.cumsum(distance)
            place = np.searchsorted(shares, uniform * shares[-1], side="right")
            directions[cluster] = z[min(place, len(z) - 1)]
            distance = np.clip(1.0 - z @ directions[cluster], 1e-12, distance)
    return directions


def _kmeans(z, directions):
    """k-means from given directions, until it stands still; an empty cluster keeps its own."""
    former = None
    for _ in range(KMEANS_ITERATIONS):
        own = nearest(z, directions)
        if np.array_equal(own, former):
            break
        former, number = own, len(directions)
        total = normalize(ops.segment_sum(z, own, num_segments=number))
        empty = ops.convert_to_numpy(counts(own, number) == 0)
        directions = np.where(empty[:, None], directions, ops.convert_to_numpy(total))
    return directions


def nearest(z, directions):
    """The direction most similar to each projection.

    Args:
        z: float32 `(n, dim)`, L2-normalised.
        directions: float32 `(L, dim)`, L2-normalised.

    Returns:
        `(n,)` int32 array.
    """
    blocks = (assign(z[i : i + _BLOCK], directions) for i in range(0, len(z), _BLOCK))
    return np.concatenate([ops.convert_to_numpy(block) for block in blocks])
