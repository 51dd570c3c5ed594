"""CueCo: two encoders, a queue of keys, clusters that follow them, and three losses."""

from functools import partial

import keras
from keras import ops

from cueco_tf.methods.base import Method, Outcome
from cueco_tf.methods.health import CollapseMonitor, UsageMonitor, warn_of_long_queue
from cueco_tf.parts import losses
from cueco_tf.parts.clusters import is_dead, normalize, usage_entropy
from cueco_tf.parts.heads import build_projection_head
from cueco_tf.parts.momentum_clusters import MomentumClusters
from cueco_tf.parts.queue import KeyQueue
from cueco_tf.parts.settled import SettledClusters
from cueco_tf.settings.methods import CueCoSettings

# Pulling towards clusters of a hardly trained encoder harms it. Digits, 60 epochs, NMI of seed 0:
# 0.86 after a warm-up of a tenth, 0.90 after three tenths, 0.89 without any pull.
WARMUP_SHARE = 0.3


@keras.saving.register_keras_serializable("cueco_tf")
class CueCo(Method):
    """Learns image representations and clusters without labels.

    A contrastive loss pushes different images apart, a clustering objective pulls the members of a
    cluster together. `fit` needs no callback: warm-up, first centroids, momentum clustering,
    re-seeding of dead clusters and the key momentum's schedule are part of the training step, and
    all their state is weights (`queue`, `queue_position`, `centroids`, `variances`, `usage`,
    `step`), made here and saved like any other.

    `model(images)` is z, the L2-normalised projection; `model.encoder` gives the features h that
    downstream tasks use.

    Args:
        encoder: a Keras model from images to features (see `build_encoder`).
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
        symmetric: each view serves once as query and once as key, for twice the work. Defaults to
            False.
        **kwargs: `num_classes`, `augment`, `total_steps`, `seed` and `image_size`, as in `Method`.

    Raises:
        ValueError: for any value out of these ranges.

    Reference: Giakoumoglou and Stathaki, https://arxiv.org/abs/2507.12359.
    """

    terms = tuple(CueCoSettings.terms)

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
        symmetric=False,
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
            warmup_steps=warmup_steps,
            ramp_steps=ramp_steps,
            refresh_steps=refresh_steps,
            symmetric=symmetric,
        )
        CueCoSettings.check_arguments(**settings)
        seed = kwargs.get("seed", 0)
        head = partial(
            build_projection_head, hidden_dim=hidden_dim, projection_dim=projection_dim, seed=seed
        )
        super().__init__(encoder, head, settings["key_momentum"], **kwargs)
        self.settings = settings
        self.queue_size, self.num_clusters = queue_size, num_clusters
        self.temperature, self.centroid_temperature = temperature, centroid_temperature
        self.loss_weights = settings["loss_weights"]
        self.assign_by, self.symmetric = assign_by, symmetric
        self.warmup_steps, self.ramp_steps = warmup_steps, ramp_steps
        self.refresh_steps = refresh_steps
        self.memory = KeyQueue(queue_size, projection_dim, name="memory")
        moments = centroid_momentum, variance_momentum, variance_floor
        self.clusters = MomentumClusters(
            num_clusters, projection_dim, *moments, seed=seed, name="clusters"
        )
        self.warmup = self.add_weight(
            shape=(),
            dtype="int64",
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
            name="warmup",
        )
        self.reseeded = keras.metrics.Sum(name="reseeded_clusters")
        self.settled = SettledClusters(num_clusters, projection_dim, name="settled_clusters")

    def targets(self, views, own):
        """The keys, unit vectors `(n, projection_dim)`: of the second view, or of both."""
        key_views = views[::-1] if self.symmetric else views[1:]
        return normalize(ops.concatenate([self.keys(view, own) for view in key_views]))

    def losses(self, views, keys, own):
        """What the queries, of the other view, lose against keys and clusters."""
        query_views = views if self.symmetric else views[:1]
        features = ops.concatenate([self.encode(view, own) for view in query_views])
        queries = normalize(self.project(features))  # (n, projection_dim)
        assignments = self.clusters.assign(keys if self.assign_by == "key" else queries)  # (n,)
        return Outcome(features, self.loss_terms(queries, keys, assignments), assignments)

    def loss_terms(self, queries, keys, assignments):
        """The three losses of each query, `(n,)` each; the last two are 0 until the clusters have
        started.

        Args:
            queries: `(n, projection_dim)`, L2-normalised.
            keys: `(n, projection_dim)`, L2-normalised: the positive of each query.
            assignments: `(n,)` integers in [0, num_clusters).
        """
        centroids, variances = self.clusters.centroids.value, self.clusters.variances.value
        negatives, (_, started, _) = self.memory.queue.value, self.shares_of_terms()
        contrast = losses.info_nce(queries, keys, negatives, self.temperature)
        pull = losses.centroid_contrast(queries, centroids, assignments, self.centroid_temperature)
        spread = losses.cluster_variance(queries, centroids, variances, assignments)
        return contrast, started * pull, started * spread

    def weights_of_terms(self):
        """Lambda 1 at once, lambda 2 and 3 in a rise after the warm-up."""
        first, *others = self.loss_weights
        risen = self.ramp()
        return first, *(weight and weight * risen for weight in others)

    def shares_of_terms(self):
        """The second and third loss count once the clusters have started."""
        started = ops.cast(self.clusters.started, "float32")
        return 1.0, started, started

    def ramp(self):
        """The share of lambda 2 and 3 that is in force, a scalar in [0, 1].

        All of it at once where the length of training is unknown and `ramp_steps` is None.
        """
        length = self.total_steps - self.warmup if self.ramp_steps is None else self.ramp_steps
        length, since = (ops.cast(n, "float32") for n in (length, self.step - self.warmup))
        risen = ops.clip(since / ops.maximum(length, 1.0), 0.0, 1.0)
        return ops.where(length > 0, risen, 1.0)

    def remember(self, keys, outcome):
        """Queues the keys of all replicas, then moves, mends or remakes the clusters."""
        directions = 2 if self.symmetric else 1
        keys, assignments = (self.gather(each, directions) for each in (keys, outcome.kept))
        self.memory.enqueue(keys)
        may_start = ops.logical_and(self.step + 1 >= self.warmup, self.memory.filled)
        refresh = self.refresh_steps and ops.equal((self.step + 1) % self.refresh_steps, 0)
        queue = self.memory.queue.value
        self.reseeded.update_state(
            self.clusters.follow(keys, assignments, queue, may_start, refresh, self.draw)
        )
        usage, started = self.clusters.usage.value, ops.cast(self.clusters.started, "float32")
        return {
            "usage_entropy": usage_entropy(usage),
            "dead_clusters": started * ops.sum(ops.cast(is_dead(usage), "float32")),
            "reseeded_clusters": self.reseeded.result(),
            "mean_variance": started * ops.mean(self.clusters.variances.value),
        }

    def directions(self):
        """The centroids, `(num_clusters, projection_dim)`."""
        return self.clusters.centroids.value

    @property
    def directions_trained(self):
        """Whether the clusters have started; until then centroids are random."""
        return bool(self.clusters.started)

    def waits_for(self):
        """What the clusters need to start: keys, or the end of the warm-up."""
        if missing := int(self.memory.missing):
            return f"{missing} of the {self.queue_size} keys that its queue waits for are missing"
        warmup = int(self.warmup.numpy())
        return f"its warm-up of {warmup} steps is not over at step {self.steps_done()}"

    def lay_out(self, total_steps):
        """Lays out the warm-up."""
        given = self.warmup_steps
        self.warmup.assign(int(WARMUP_SHARE * total_steps) if given is None else given)

    def monitors(self):
        """Callbacks that `fit` adds by itself; they watch, and change nothing."""
        return [*super().monitors(), CollapseMonitor("info_nce", self.queue_size), UsageMonitor()]

    def check_fit(self, images, batch_size):
        """As `Method.check_fit`; warns of a queue longer than the data set."""
        super().check_fit(images, batch_size)
        warn_of_long_queue(self.queue_size, images)
