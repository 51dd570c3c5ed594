"""SwAV: a view predicts the other's share in prototypes that are all used alike."""

import warnings
from functools import partial

import keras
from keras import ops

from cueco_tf.methods.base import Method, Outcome
from cueco_tf.methods.health import warn_of_long_queue
from cueco_tf.parts import losses
from cueco_tf.parts.heads import mlp
from cueco_tf.parts.queue import KeyQueue
from cueco_tf.parts.settled import SettledClusters
from cueco_tf.parts.sinkhorn import sinkhorn
from cueco_tf.settings.methods import SwAVSettings


@keras.saving.register_keras_serializable("cueco_tf")
class SwAV(Method):
    """Learns prototypes, and to predict from each view which of them the other one belongs to.

    The target, a share in each prototype, is balanced over the images of all replicas and a queue
    of earlier ones, or all would be of the same. Weights: `prototypes`, float32 `(L,
    projection_dim)`, trained and put back to length 1 before each step; `queue` and
    `queue_position`, once a view.

    Args:
        encoder: a Keras model from images to features (see `build_encoder`).
        hidden_dim: integer >= 1, the width of the head. Defaults to 2048.
        projection_dim: integer >= 1, the length of z. Defaults to 128.
        num_prototypes: integer >= 2, L; better not above the images of a batch and of the queue.
            Defaults to 3000.
        temperature: float > 0, of the prediction. Defaults to 0.1.
        epsilon: float >= 0.025, the smoothness of the shares. Defaults to 0.05.
        queue_size: integer >= 0, K; 0 for no queue. Defaults to 3840.
        queue_start_steps: integer >= 0: the queue counts from this step on, and not before it is
            full. Defaults to 0.
        freeze_steps: integer >= 0, the steps before the prototypes learn. Defaults to 0.
        **kwargs: `num_classes`, `augment`, `total_steps`, `seed` and `image_size`, as in `Method`.

    Raises:
        ValueError: for any value out of these ranges; in `fit`, for batches of one image.

    Reference: Caron et al., https://arxiv.org/abs/2006.09882, with two views.
    """

    terms = tuple(SwAVSettings.terms)
    least_batch = SwAVSettings.least_batch

    def __init__(
        self,
        encoder,
        hidden_dim=2048,
        projection_dim=128,
        num_prototypes=3000,
        temperature=0.1,
        epsilon=0.05,
        queue_size=3840,
        queue_start_steps=0,
        freeze_steps=0,
        **kwargs,
    ):
        settings = dict(
            hidden_dim=hidden_dim,
            projection_dim=projection_dim,
            num_prototypes=num_prototypes,
            temperature=temperature,
            epsilon=epsilon,
            queue_size=queue_size,
            queue_start_steps=queue_start_steps,
            freeze_steps=freeze_steps,
        )
        SwAVSettings.check_arguments(**settings)
        seed = kwargs.get("seed", 0)
        head = partial(mlp, widths=(hidden_dim, projection_dim), seed=seed)
        super().__init__(encoder, head, **kwargs)
        self.settings = settings
        self.temperature, self.epsilon = temperature, epsilon
        self.prototypes = self.add_weight(
            shape=(num_prototypes, projection_dim),
            initializer=keras.initializers.RandomNormal(seed=seed + 10),
            name="prototypes",
        )
        views = range(2 if queue_size else 0)
        self.memories = [KeyQueue(queue_size, projection_dim, name=f"memory_{i}") for i in views]
        self.settled = SettledClusters(num_prototypes, projection_dim, name="settled_clusters")

    def targets(self, views, own):
        """Puts the prototypes back to length 1."""
        if self.learning:
            self.prototypes.assign(ops.normalize(self.prototypes))

    def losses(self, views, targets, own):
        """What the predictions of both views lose, on average."""
        features = [self.encode(view, own) for view in views]
        z = [ops.normalize(self.project(h)) for h in features]  # (n, projection_dim) each
        prototypes = self._units()
        frozen = self.step < self.settings["freeze_steps"]
        prototypes = ops.where(frozen, ops.stop_gradient(prototypes), prototypes)
        scores = [ops.matmul(view, ops.transpose(prototypes)) for view in z]  # (n, L) each
        everyone = ops.split(self.gather(ops.concatenate(z), parts=2), 2)
        codes = [ops.take(self.codes(i, everyone[i]), self.own_places(own), axis=0) for i in (0, 1)]
        one, other = (
            losses.swapped_prediction(scores[i], codes[1 - i], self.temperature) for i in (0, 1)
        )
        return Outcome(ops.concatenate(features), ((one + other) / 2,), everyone)

    def codes(self, i, z):
        """The shares of view i of the images of all replicas, without gradient: `(N, L)`, then
        those of the queue."""
        used = ops.ones_like(z[:, 0])
        for memory in self.memories[i : i + 1]:
            counts = ops.logical_and(memory.filled, self.step >= self.settings["queue_start_steps"])
            old = ops.cast(counts, "float32") * ops.ones_like(memory.queue[:, 0])
            z, used = ops.concatenate([z, memory.queue]), ops.concatenate([used, old])
        scores = ops.matmul(z, ops.transpose(self._units()))  # (N + K, L)
        return sinkhorn(ops.stop_gradient(scores), self.epsilon, used)

    def _units(self):
        """The prototypes, which since the last step are no longer of length 1."""
        return self.prototypes.value if self.learning else ops.normalize(self.prototypes)

    def remember(self, targets, outcome):
        """Queues the projections of all replicas."""
        for i, memory in enumerate(self.memories):
            memory.enqueue(outcome.kept[i])
        return {}

    def directions(self):
        """The prototypes, `(num_prototypes, projection_dim)`."""
        return ops.normalize(self.prototypes)

    @property
    def directions_trained(self):
        """Whether the prototypes have begun to learn."""
        return self.steps_done() > self.settings["freeze_steps"]

    def waits_for(self):
        """What the prototypes need to learn: steps."""
        frozen = self.settings["freeze_steps"]
        return f"its prototypes learn from step {frozen + 1} on, and {self.steps_done()} are done"

    def check_fit(self, images, batch_size):
        """As `Method.check_fit`; warns of a queue longer than the data set, and of more prototypes
        than there are images to balance."""
        super().check_fit(images, batch_size)
        count, queue_size = (self.settings[name] for name in ("num_prototypes", "queue_size"))
        warn_of_long_queue(queue_size, images, "among those that it is balanced with")
        if count > batch_size + queue_size:
            warnings.warn(
                f"{count} prototypes cannot be balanced over a batch of {batch_size} images and a "
                f"queue of {queue_size}. Choose num_prototypes <= {batch_size + queue_size}.",
                stacklevel=4,
            )
