"""The state of momentum clustering: centroids, variances and usage that follow the keys."""

import keras
from keras import ops

from cueco_tf.parts import clusters


class MomentumClusters(keras.layers.Layer):
    """Owns the clusters' state: weights `centroids`, `variances` and `usage`, float32.

    Until the first k-means the centroids are random directions and `usage` is zero, which is how
    the layer knows. From then on `usage` sums to 1.

    Args:
        num_clusters: integer >= 2, L.
        dim: integer >= 1, the length of a key.
        centroid_momentum: float in [0, 1].
        variance_momentum: float in [0, 1].
        variance_floor: float in (0, 4], below which no variance falls. Defaults to 0.01.
        seed: integer, for the random directions. Defaults to 0.
    """

    def __init__(
        self,
        num_clusters,
        dim,
        centroid_momentum,
        variance_momentum,
        variance_floor=clusters.VARIANCE_FLOOR,
        seed=0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.centroid_momentum = centroid_momentum
        self.variance_momentum = variance_momentum
        self.variance_floor = variance_floor
        state = dict(dtype="float32", trainable=False, aggregation="only_first_replica")
        self.centroids = self.add_weight(
            shape=(num_clusters, dim),
            initializer=keras.initializers.RandomNormal(stddev=1.0, seed=seed),
            name="centroids",
            **state,
        )
        self.centroids.assign(clusters.normalize(self.centroids))
        self.variances = self.add_weight(
            shape=(num_clusters,), initializer="ones", name="variances", **state
        )
        self.usage = self.add_weight(
            shape=(num_clusters,), initializer="zeros", name="usage", **state
        )
        self.built = True

    @property
    def started(self):
        """Boolean scalar: the first k-means has been done."""
        return ops.sum(self.usage) > 0.0

    def assign(self, vectors):
        """The cluster of each `(n, dim)` vector: `(n,)` int32."""
        return clusters.assign(vectors, self.centroids.value)

    def follow(self, keys, assignments, queue, may_start, refresh, draw):
        """Moves the state on by one step, and starts or mends the clusters where that is due.

        Each weight is assigned once, with the value of a conditional: an assignment *inside* a
        conditional fails under `tf.distribute`.

        Args:
            keys: `(batch, dim)`: the keys of all replicas.
            assignments: `(batch,)`: their clusters.
            queue: `(K, dim)`: the queued keys, for k-means and for new clusters.
            may_start: boolean scalar: warm-up is over and the queue is full.
            refresh: boolean scalar: clusters that have started are made anew as well.
            draw: function of a shape that returns uniform random numbers.

        Returns:
            int32 scalar: how many dead clusters were re-seeded.
        """
        state = (self.centroids.value, self.variances.value, self.usage.value)
        num_clusters, queue_size = self.centroids.shape[0], queue.shape[0]

        def start():
            uniforms = draw((num_clusters, clusters.seeding_trials(num_clusters)))
            made = clusters.spherical_kmeans(queue, uniforms, variance_floor=self.variance_floor)
            return *made, ops.zeros((), "int32")

        def wait():
            return *state, ops.zeros((), "int32")

        def move():
            centroids, variances = clusters.update(
                *state[:2],
                keys,
                assignments,
                self.centroid_momentum,
                self.variance_momentum,
                self.variance_floor,
            )
            usage = clusters.update_usage(state[2], assignments)
            dead = ops.sum(ops.cast(clusters.is_dead(usage), "int32"))
            moved = (centroids, variances, usage)
            mended = ops.cond(
                dead > 0, lambda: clusters.reseed(*moved, queue, draw((queue_size,))), lambda: moved
            )
            return *mended, dead

        stay = ops.logical_and(self.started, ops.logical_not(refresh))
        *state, reseeded = ops.cond(stay, move, lambda: ops.cond(may_start, start, wait))
        for weight, value in zip((self.centroids, self.variances, self.usage), state, strict=True):
            weight.assign(value)
        return reseeded
