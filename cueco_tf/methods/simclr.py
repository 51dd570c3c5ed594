"""SimCLR: a view finds its partner among all other views of the batch."""

from functools import partial

import keras
from keras import ops

from cueco_tf.methods.base import Method, Outcome
from cueco_tf.parts import losses
from cueco_tf.parts.heads import mlp
from cueco_tf.settings.methods import SimCLRSettings


@keras.saving.register_keras_serializable("cueco_tf")
class SimCLR(Method):
    """Learns to tell each image from the others of its batch, which is better large.

    Args:
        encoder: a Keras model from images to features (see `build_encoder`).
        hidden_dim: integer >= 1, the width of the head. Defaults to 2048.
        projection_dim: integer >= 1, the length of z. Defaults to 256.
        temperature: float > 0. Defaults to 0.2.
        **kwargs: `num_classes`, `augment`, `total_steps`, `seed` and `image_size`, as in `Method`.

    Raises:
        ValueError: for any value out of these ranges; in `fit`, for batches of one image.

    Reference: Chen et al., https://arxiv.org/abs/2002.05709.
    """

    terms = tuple(SimCLRSettings.terms)
    least_batch = SimCLRSettings.least_batch

    def __init__(self, encoder, hidden_dim=2048, projection_dim=256, temperature=0.2, **kwargs):
        settings = dict(
            hidden_dim=hidden_dim, projection_dim=projection_dim, temperature=temperature
        )
        SimCLRSettings.check_arguments(**settings)
        widths, seed = (hidden_dim, projection_dim), kwargs.get("seed", 0)
        head = partial(mlp, widths=widths, norm=False, seed=seed)
        super().__init__(encoder, head, **kwargs)
        self.settings, self.temperature = settings, temperature

    def losses(self, views, targets, own):
        """What each view loses against those of all replicas; the mean of an image's two."""
        features = [self.encode(view, own) for view in views]
        z = [ops.normalize(self.project(h)) for h in features]  # (n, projection_dim) each
        everyone = self.gather(ops.concatenate(z), parts=2, gradient=True)  # (2 N, projection_dim)
        images, first = ops.shape(everyone)[0] // 2, self.own_places(own)
        second = first + ops.cast(images, first.dtype)
        one = losses.nt_xent(z[0], everyone, first, second, self.temperature)
        other = losses.nt_xent(z[1], everyone, second, first, self.temperature)
        return Outcome(ops.concatenate(features), ((one + other) / 2,))
