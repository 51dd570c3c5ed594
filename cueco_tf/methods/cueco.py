"""CueCo: two encoders, a queue of keys, clusters that follow them, and three losses."""

import warnings

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from cueco_tf.data.views import check_images
from cueco_tf.methods.base import TwoViewModel
from cueco_tf.methods.health import HealthMonitor
from cueco_tf.parts import losses
from cueco_tf.parts.clusters import is_dead, normalize, usage_entropy
from cueco_tf.parts.heads import build_projection_head
from cueco_tf.parts.momentum import MomentumNetwork, cosine_momentum
from cueco_tf.parts.momentum_clusters import MomentumClusters
from cueco_tf.parts.queue import KeyQueue
from cueco_tf.settings.methods import check_settings

_BLOCK = 4096  # images whose similarities to all centroids are held at once by `assign`


@keras.saving.register_keras_serializable("cueco_tf")
class CueCo(TwoViewModel):
    """Learns image representations and clusters without labels.

    A contrastive loss pushes different images apart, a clustering objective pulls the members of a
    cluster together. `fit` needs no callback: warm-up, first centroids, momentum clustering,
    re-seeding of dead clusters and the key momentum's schedule are part of the training step, and
    all their state is weights (`queue`, `queue_position`, `centroids`, `variances`, `usage`,
    `step`), made here and saved like any other.

    `model(images)` is z, the L2-normalised projection; `model.encoder` gives the features h that
    downstream tasks use.

    Args:
        encoder: a built Keras model from images to features (see `build_encoder`).
        num_clusters: integer in [2, queue_size], L.
        queue_size: integer >= 2, K, the number of negatives; better not above the number of
            images. Defaults to 4096.
        hidden_dim: integer >= 1, the width of the projection head. Defaults to 2048.
        projection_dim: integer >= 1, the length of z. Defaults to 128.
        temperature: float > 0. Defaults to 0.2.
        centroid_temperature: float > 0, of the second loss. Defaults to 0.05.
        key_momentum: (start, end), each in [0, 1], along half a cosine over `total_steps`, or one
            number for both. Defaults to (0.99, 0.999).
        centroid_momentum: float in [0, 1], beta 1. Defaults to 0.5.
        variance_momentum: float in [0, 1], beta 2. Defaults to 0.5.
        variance_floor: float in (0, 4], below which no variance falls. Defaults to 0.01.
        loss_weights: (lambda 1, lambda 2, lambda 3), each >= 0; (1, 0, 0) is MoCo, with clusters
            that follow but do not teach. Defaults to (1, 3, 0.02).
        assign_by: `"key"`: a query belongs to the cluster of the other view's key, a target to
            predict; `"query"`: to the one nearest to itself, the poster's letter. Defaults to
            `"key"`.
        warmup_steps: integer >= 0: steps on the first loss alone, or None for three
            tenths of `total_steps`. The clusters start no earlier than the queue is full of keys.
        ramp_steps: integer >= 0, over which lambda 2 and 3 rise from 0 after the warm-up; 0: they
            are there at once. Defaults to None: they rise until `total_steps`.
        refresh_steps: integer >= 0: every so many steps k-means on the queue makes the clusters
            anew, so that they follow what the encoder has learnt; 0 for never. Defaults to 50.
        total_steps: integer >= 1, or None, to work it out in `fit`.
        num_classes: integer >= 2 for an online linear probe on the labels, or None.
        augment: function of `(images, seed)` that returns two views, or None for the recipe that
            suits the image size.
        symmetric: each view serves once as query and once as key, for twice the work. Defaults to
            False.
        seed: integer, defaults to 0.

    Raises:
        ValueError: for any value out of these ranges.

    Reference: Giakoumoglou and Stathaki, https://arxiv.org/abs/2507.12359.
    """

    def __init__(
        self,
        encoder,
        num_clusters,
        queue_size=4096,
        hidden_dim=2048,
        projection_dim=128,
        temperature=0.2,
        centroid_temperature=0.05,
        key_momentum=(0.99, 0.999),
        centroid_momentum=0.5,
        variance_momentum=0.5,
        variance_floor=0.01,
        loss_weights=(1, 3, 0.02),
        assign_by="key",
        warmup_steps=None,
        ramp_steps=None,
        refresh_steps=50,
        total_steps=None,
        num_classes=None,
        augment=None,
        symmetric=False,
        seed=0,
        **kwargs,
    ):
        if isinstance(key_momentum, (int, float)):
            key_momentum = (key_momentum, key_momentum)
        settings = dict(
            num_clusters=num_clusters,
            queue_size=queue_size,
            hidden_dim=hidden_dim,
            projection_dim=projection_dim,
            temperature=temperature,
            centroid_temperature=centroid_temperature,
            key_momentum=tuple(key_momentum),
            centroid_momentum=centroid_momentum,
            variance_momentum=variance_momentum,
            variance_floor=variance_floor,
            loss_weights=tuple(loss_weights),
            assign_by=assign_by,
            ramp_steps=ramp_steps,
            refresh_steps=refresh_steps,
            symmetric=symmetric,
        )
        check_settings(**settings)
        super().__init__(
            encoder,
            augment=augment,
            warmup_steps=warmup_steps,
            total_steps=total_steps,
            num_classes=num_classes,
            seed=seed,
            **kwargs,
        )
        self.settings = settings
        self.queue_size, self.num_clusters = queue_size, num_clusters
        self.temperature, self.centroid_temperature = temperature, centroid_temperature
        self.key_momentum = settings["key_momentum"]
        self.loss_weights = settings["loss_weights"]
        self.assign_by, self.symmetric = assign_by, symmetric
        self.ramp_steps, self.refresh_steps = ramp_steps, refresh_steps

        self.head = build_projection_head(
            encoder.output_shape[-1], hidden_dim, projection_dim, seed=seed
        )
        self.key_encoder = MomentumNetwork(encoder, name="key_encoder")
        self.key_head = MomentumNetwork(self.head, name="key_head")
        self.memory = KeyQueue(queue_size, projection_dim, name="memory")
        self.clusters = MomentumClusters(
            num_clusters,
            projection_dim,
            centroid_momentum,
            variance_momentum,
            variance_floor,
            seed=seed,
            name="clusters",
        )
        self.means = {
            name: keras.metrics.Mean(name=name)
            for name in ("loss", "info_nce", "centroid_contrast", "cluster_variance")
        }
        self.reseeded = keras.metrics.Sum(name="reseeded_clusters")
        self.built = True

    def call(self, images, training=False):
        return normalize(self.head(self.encoder(images, training=training), training=training))

    def train_step(self, data):
        views, labels = data  # two (batch, height, width, 3), (batch,)
        query_views, key_views = (views, views[::-1]) if self.symmetric else (views[:1], views[1:])
        directions, own = len(query_views), ops.shape(labels)[0]

        # The key encoder moves first, and gets no gradient.
        momentum = cosine_momentum(*self.key_momentum, self.step.value, self.schedule[0])
        self.key_encoder.follow(self.encoder, momentum)
        self.key_head.follow(self.head, momentum)
        keys = ops.concatenate([self.key_head(self.key_encoder(v))[:own] for v in key_views])
        keys = normalize(keys)  # (directions * batch, dim)
        all_keys = self.gather(keys, directions)  # those of all replicas

        with tf.GradientTape() as tape:
            features = ops.concatenate([self.encoder(v, training=True)[:own] for v in query_views])
            queries = normalize(self.head(features, training=True))
            assignments = self.clusters.assign(keys if self.assign_by == "key" else queries)
            terms = self.loss_terms(queries, keys, assignments)  # three (directions * batch,)
            shares = (1.0, *[self.ramp()] * 2)
            weighted = zip(self.loss_weights, shares, terms, strict=True)
            total = sum(weight * share * term for weight, share, term in weighted if weight)
            loss = ops.sum(total) / ops.cast(ops.shape(all_keys)[0], "float32")
            loss += self.probe_loss(features, ops.tile(labels, (directions,)))
            loss = self.optimizer.scale_loss(loss)
        logs = self.report(total, terms, key_momentum=momentum)
        self.minimise(loss, tape)

        self.memory.enqueue(all_keys)
        all_assignments = self.gather(assignments, directions)
        may_start = ops.logical_and(self.step + 1 >= self.schedule[1], self.memory.filled)
        refresh = self.refresh_steps and ops.equal((self.step + 1) % self.refresh_steps, 0)
        reseeded = self.clusters.follow(
            all_keys, all_assignments, self.memory.queue.value, may_start, refresh, self.draw
        )
        self.step.assign_add(1)
        return {**logs, **self.report_clusters(reseeded)}

    def loss_terms(self, queries, keys, assignments):
        """The three losses of each query, `(batch,)` each; the last two are 0 until the clusters
        have started."""
        centroids, variances = self.clusters.centroids.value, self.clusters.variances.value
        started = ops.cast(self.clusters.started, "float32")
        return (
            losses.info_nce(queries, keys, self.memory.queue.value, self.temperature),
            started
            * losses.centroid_contrast(queries, centroids, assignments, self.centroid_temperature),
            started * losses.cluster_variance(queries, centroids, variances, assignments),
        )

    def ramp(self):
        """The share of lambda 2 and 3 that is in force: rises in a line after the warm-up.

        All of it at once where the length of training is unknown and `ramp_steps` is None.
        """
        total, warmup = ops.unstack(self.schedule.value)
        length = total - warmup if self.ramp_steps is None else self.ramp_steps
        length, since = (ops.cast(n, "float32") for n in (length, self.step.value - warmup))
        risen = ops.clip(since / ops.maximum(length, 1.0), 0.0, 1.0)
        return ops.where(length > 0, risen, 1.0)

    def monitors(self):
        """What `fit` watches training with: see `HealthMonitor`."""
        return [HealthMonitor()]

    def draw(self, shape):
        """Uniform random numbers that are a function of (seed, step)."""
        return tf.random.stateless_uniform(
            shape, (tf.constant(self.seed, "int64"), self.step.value)
        )

    def report(self, total, terms, **latest):
        """Updates the epoch's mean losses; returns them with the latest values."""
        count = ops.cast(ops.shape(total)[0], "float32")
        sums = [ops.sum(value) for value in (total, *terms)]
        *sums, count = ops.unstack(self.replica_sum(ops.stack([*sums, count])), 5)
        started = ops.cast(self.clusters.started, "float32")
        weights = (count, count, count * started, count * started)
        for mean, value, weight in zip(self.means.values(), sums, weights, strict=True):
            mean.update_state(value / count, sample_weight=weight)
        latest["learning_rate"] = ops.convert_to_tensor(self.optimizer.learning_rate)
        return {**{name: mean.result() for name, mean in self.means.items()}, **latest}

    def report_clusters(self, reseeded):
        """The clusters' health: usage entropy and dead clusters now, those mended this epoch."""
        self.reseeded.update_state(reseeded)
        usage, started = self.clusters.usage.value, ops.cast(self.clusters.started, "float32")
        logs = {
            "usage_entropy": usage_entropy(usage),
            "dead_clusters": started * ops.sum(ops.cast(is_dead(usage), "float32")),
            "reseeded_clusters": self.reseeded.result(),
            "mean_variance": started * ops.mean(self.clusters.variances.value),
        }
        if self.num_classes is not None:
            logs["online_top1"] = self.probe_accuracy.result()
        return logs

    def fit(self, x, *args, **kwargs):
        if not hasattr(x, "element_spec") and len(x) < self.queue_size:
            warnings.warn(
                f"The queue of {self.queue_size} keys is longer than the data set of {len(x)} "
                f"images, so an image meets older keys of itself as negatives. Choose "
                f"queue_size <= {len(x)}.",
                stacklevel=2,
            )
        return super().fit(x, *args, **kwargs)

    fit.__doc__ = TwoViewModel.fit.__doc__

    def assign(self, images, batch_size=256):
        """The cluster of each image, without augmentation.

        Args:
            images: `(n, height, width, 3)` array, pixels 0 to 255, uint8 or float.
            batch_size: integer >= 1, defaults to 256.

        Returns:
            `(n,)` int32 array: the argmax over the centroids of z . c.

        Raises:
            ValueError: for images of another shape or dtype.
        """
        images = check_images(images, self.image_shape)
        return self.nearest_centroids(self.predict(images, batch_size=batch_size, verbose=0))

    def nearest_centroids(self, z):
        """The cluster of each L2-normalised projection: float32 `(n, dim)` to int32 `(n,)`."""
        blocks = (self.clusters.assign(z[i : i + _BLOCK]) for i in range(0, len(z), _BLOCK))
        return np.concatenate([ops.convert_to_numpy(block) for block in blocks])

    def get_config(self):
        return {**super().get_config(), **self.settings}
