"""BYOL: a view predicts what a slow network makes of the other view, without negatives."""

from functools import partial

import keras
from keras import ops

from cueco_tf.methods.base import Method, Outcome
from cueco_tf.parts import losses
from cueco_tf.parts.heads import mlp
from cueco_tf.settings.methods import BYOLSettings


@keras.saving.register_keras_serializable("cueco_tf")
class BYOL(Method):
    """Learns to predict, from each view, the slow network's projection of the other.

    What keeps it from predicting the same of all images are the `predictor`, which the slow copies
    of encoder and head do not have, and their slowness. z and the features are the student's.

    Args:
        encoder: a Keras model from images to features (see `build_encoder`).
        hidden_dim: integer >= 1, the width of the head. Defaults to 4096.
        projection_dim: integer >= 1, the length of z. Defaults to 256.
        predictor_dim: integer >= 1, the width of the predictor. Defaults to 4096.
        key_momentum: (start, end) of the slow copies, each in [0, 1]. Defaults to (0.99, 1).
        **kwargs: `num_classes`, `augment`, `total_steps`, `seed` and `image_size`, as in `Method`.

    Raises:
        ValueError: for any value out of these ranges; in `fit`, for batches of one image.

    Reference: Grill et al., https://arxiv.org/abs/2006.07733.
    """

    terms = tuple(BYOLSettings.terms)
    least_batch = BYOLSettings.least_batch

    def __init__(
        self,
        encoder,
        hidden_dim=4096,
        projection_dim=256,
        predictor_dim=4096,
        key_momentum=(0.99, 1.0),
        **kwargs,
    ):
        settings = dict(
            hidden_dim=hidden_dim,
            projection_dim=projection_dim,
            predictor_dim=predictor_dim,
            key_momentum=tuple(key_momentum),
        )
        BYOLSettings.check_arguments(**settings)
        widths, seed = (hidden_dim, projection_dim), kwargs.get("seed", 0)
        head = partial(mlp, widths=widths, seed=seed)
        super().__init__(encoder, head, settings["key_momentum"], **kwargs)
        self.settings = settings
        widths = predictor_dim, projection_dim
        self.predictor = mlp(projection_dim, widths, seed=seed + 10, name="predictor")

    def targets(self, views, own):
        """What each view has to predict: the other's slow projection, `(n, projection_dim)`."""
        return [self.keys(view, own) for view in views[::-1]]

    def losses(self, views, targets, own):
        """What the two predictions of an image lose, added."""
        features = [self.encode(view, own) for view in views]
        predictions = [self.run(self.predictor, self.project(h)) for h in features]
        one, other = map(losses.regression, predictions, targets)  # (n,) each
        return Outcome(ops.concatenate(features), (one + other,))
