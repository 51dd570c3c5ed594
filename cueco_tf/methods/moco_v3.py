"""MoCo-v3: a view predicts its key among the slow network's keys of the batch."""

from functools import partial

import keras
from keras import ops

from cueco_tf.methods.base import Method, Outcome
from cueco_tf.parts import losses
from cueco_tf.parts.heads import mlp
from cueco_tf.settings.methods import MoCoV3Settings


@keras.saving.register_keras_serializable("cueco_tf")
class MoCoV3(Method):
    """Learns to tell each image from the others of its batch by what a slow network makes of it.

    MoCo without a queue, with BYOL's `predictor`; batches are better large.

    Args:
        encoder: a Keras model from images to features (see `build_encoder`).
        hidden_dim: integer >= 1, the width of the head. Defaults to 4096.
        projection_dim: integer >= 1, the length of z. Defaults to 256.
        predictor_dim: integer >= 1, the width of the predictor. Defaults to 4096.
        temperature: float > 0. Defaults to 0.2.
        key_momentum: (start, end) of the slow copies, each in [0, 1]. Defaults to (0.99, 1).
        **kwargs: `num_classes`, `augment`, `total_steps`, `seed` and `image_size`, as in `Method`.

    Raises:
        ValueError: for any value out of these ranges; in `fit`, for batches of one image.

    Reference: Chen, Xie and He, https://arxiv.org/abs/2104.02057.
    """

    terms = tuple(MoCoV3Settings.terms)
    least_batch = MoCoV3Settings.least_batch

    def __init__(
        self,
        encoder,
        hidden_dim=4096,
        projection_dim=256,
        predictor_dim=4096,
        temperature=0.2,
        key_momentum=(0.99, 1.0),
        **kwargs,
    ):
        settings = dict(
            hidden_dim=hidden_dim,
            projection_dim=projection_dim,
            predictor_dim=predictor_dim,
            temperature=temperature,
            key_momentum=tuple(key_momentum),
        )
        MoCoV3Settings.check_arguments(**settings)
        widths, seed = (hidden_dim, projection_dim), kwargs.get("seed", 0)
        head = partial(mlp, widths=widths, last_norm=True, seed=seed)
        super().__init__(encoder, head, settings["key_momentum"], **kwargs)
        self.settings, self.temperature = settings, temperature
        widths, seed = (predictor_dim, projection_dim), seed + 10
        self.predictor = mlp(projection_dim, widths, last_bias=False, seed=seed, name="predictor")

    def targets(self, views, own):
        """The keys of each direction, unit vectors `(N, projection_dim)`, of all replicas."""
        return [self.gather(ops.normalize(self.keys(view, own))) for view in views[::-1]]

    def losses(self, views, keys, own):
        """What the two predictions of an image lose, added."""
        features = [self.encode(view, own) for view in views]
        queries = [ops.normalize(self.run(self.predictor, self.project(h))) for h in features]
        places = self.own_places(own)
        one, other = (
            losses.in_batch(query, key, places, self.temperature)
            for query, key in zip(queries, keys, strict=True)
        )
        return Outcome(ops.concatenate(features), (one + other,))
