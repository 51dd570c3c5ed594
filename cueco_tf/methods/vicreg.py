"""VICReg: views agree, and the numbers of z vary and are uncorrelated over the batch."""

from functools import partial

import keras
from keras import ops

from cueco_tf.methods.base import Method, Outcome
from cueco_tf.parts import losses
from cueco_tf.parts.heads import mlp
from cueco_tf.settings.methods import VICRegSettings


@keras.saving.register_keras_serializable("cueco_tf")
class VICReg(Method):
    """Learns projections that are the same for the views of an image.

    What keeps them from being the same for all images is that each number of z has to vary over
    the batch, and no two of them together. Terms: `invariance`, the mean square of z1 - z2;
    `variance` and `covariance`, those of both views added.

    Args:
        encoder: a Keras model from images to features (see `build_encoder`).
        hidden_dim: integer >= 1, the width of the head's two hidden layers. Defaults to 2048.
        projection_dim: integer >= 1, the length of z. Defaults to 2048.
        loss_weights: of the three terms, each >= 0. Defaults to (25, 25, 1).
        **kwargs: `num_classes`, `augment`, `total_steps`, `seed` and `image_size`, as in `Method`.

    Raises:
        ValueError: for any value out of these ranges; in `fit`, for batches of one image.

    Reference: Bardes et al., https://arxiv.org/abs/2105.04906.
    """

    terms = tuple(VICRegSettings.terms)
    least_batch = VICRegSettings.least_batch

    def __init__(
        self,
        encoder,
        hidden_dim=2048,
        projection_dim=2048,
        loss_weights=(25.0, 25.0, 1.0),
        **kwargs,
    ):
        settings = dict(
            hidden_dim=hidden_dim, projection_dim=projection_dim, loss_weights=tuple(loss_weights)
        )
        VICRegSettings.check_arguments(**settings)
        widths = hidden_dim, hidden_dim, projection_dim
        head = partial(mlp, widths=widths, seed=kwargs.get("seed", 0))
        super().__init__(encoder, head, **kwargs)
        self.settings = settings

    def losses(self, views, targets, own):
        """The three terms; variance and covariance are those of the images of all replicas."""
        features = [self.encode(view, own) for view in views]
        z = [self.project(h) for h in features]  # (n, projection_dim) each
        invariance = ops.mean(ops.square(z[0] - z[1]), axis=-1)  # (n,)
        everyone = self.gather(ops.concatenate(z), parts=2, gradient=True)
        pairs = [losses.variance_and_covariance(view) for view in ops.split(everyone, 2)]
        of_batch = [sum(both) * ops.ones_like(invariance) for both in zip(*pairs, strict=True)]
        return Outcome(ops.concatenate(features), (invariance, *of_batch))

    def weights_of_terms(self):
        """Those it was told."""
        return self.settings["loss_weights"]
