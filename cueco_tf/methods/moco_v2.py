"""MoCo-v2: a query finds its key among a queue of the keys of other images."""

from functools import partial

import keras
from keras import ops

from cueco_tf.methods.base import Method, Outcome
from cueco_tf.methods.health import CollapseMonitor, warn_of_long_queue
from cueco_tf.parts import losses
from cueco_tf.parts.heads import build_projection_head
from cueco_tf.parts.queue import KeyQueue
from cueco_tf.settings.methods import MoCoV2Settings


@keras.saving.register_keras_serializable("cueco_tf")
class MoCoV2(Method):
    """Learns to tell each image from all others.

    The key of an image's other view comes from slow copies of encoder and head; a queue remembers
    the keys of earlier batches. Its weights are `queue` and `queue_position`, once a direction.

    Args:
        encoder: a Keras model from images to features (see `build_encoder`).
        queue_size: integer >= 2, K, the negatives of a direction; better not above the number of
            images. Defaults to 32768.
        hidden_dim: integer >= 1, the width of the head. Defaults to 2048.
        projection_dim: integer >= 1, the length of z. Defaults to 256.
        temperature: float > 0. Defaults to 0.2.
        key_momentum: (start, end), each in [0, 1]. Defaults to (0.99, 0.999).
        symmetric: each view serves once as query and once as key. Defaults to True, the "+"
            variant.
        **kwargs: `num_classes`, `augment`, `total_steps`, `seed` and `image_size`, as in `Method`.

    Raises:
        ValueError: for any value out of these ranges.

    Reference: Chen et al., https://arxiv.org/abs/2003.04297.
    """

    terms = tuple(MoCoV2Settings.terms)

    def __init__(
        self,
        encoder,
        queue_size=32768,
        hidden_dim=2048,
        projection_dim=256,
        temperature=0.2,
        key_momentum=(0.99, 0.999),
        symmetric=True,
        **kwargs,
    ):
        settings = dict(
            queue_size=queue_size,
            hidden_dim=hidden_dim,
            projection_dim=projection_dim,
            temperature=temperature,
            key_momentum=tuple(key_momentum),
            symmetric=symmetric,
        )
        MoCoV2Settings.check_arguments(**settings)
        head = partial(
            build_projection_head,
            hidden_dim=hidden_dim,
            projection_dim=projection_dim,
            seed=kwargs.get("seed", 0),
        )
        super().__init__(encoder, head, settings["key_momentum"], **kwargs)
        self.settings = settings
        self.queue_size, self.temperature, self.symmetric = queue_size, temperature, symmetric
        self.memories = [
            KeyQueue(queue_size, projection_dim, name=f"memory_{i}") for i in range(1 + symmetric)
        ]

    def targets(self, views, own):
        """The keys of each direction, unit vectors `(n, projection_dim)`."""
        key_views = views[::-1] if self.symmetric else views[1:]
        return [ops.normalize(self.keys(view, own)) for view in key_views]

    def losses(self, views, keys, own):
        """What the queries, of the other view, lose against their keys and the queue."""
        query_views = views if self.symmetric else views[:1]
        features = [self.encode(view, own) for view in query_views]
        terms = [
            losses.info_nce(ops.normalize(self.project(h)), key, memory.queue, self.temperature)
            for h, key, memory in zip(features, keys, self.memories, strict=True)
        ]
        return Outcome(ops.concatenate(features), (sum(terms) / len(terms),))  # (n,)

    def remember(self, keys, outcome):
        """Queues the keys of all replicas."""
        for key, memory in zip(keys, self.memories, strict=True):
            memory.enqueue(self.gather(key))
        return {}

    def monitors(self):
        """Callbacks that `fit` adds by itself; they watch, and change nothing."""
        return [*super().monitors(), CollapseMonitor("info_nce", self.queue_size)]

    def check_fit(self, images, batch_size):
        """As `Method.check_fit`; warns of a queue longer than the data set."""
        super().check_fit(images, batch_size)
        warn_of_long_queue(self.queue_size, images)
