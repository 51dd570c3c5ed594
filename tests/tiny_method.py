"""A method without queue, clusters or key network: the loss of SimCLR within a batch."""

import dataclasses
from functools import partial

import keras
from keras import ops

from cueco_tf.methods.base import Method, Outcome
from cueco_tf.parts.clusters import normalize
from cueco_tf.parts.heads import build_projection_head
from cueco_tf.settings.methods import MethodSettings

DIM = 32


@keras.saving.register_keras_serializable("tests")
class TinyMethod(Method):
    """Each view is to be told from the batch's others by its partner."""

    terms = ("contrast",)

    def __init__(self, encoder, **kwargs):
        head = partial(
            build_projection_head, hidden_dim=64, projection_dim=DIM, seed=kwargs["seed"]
        )
        super().__init__(encoder, head, **kwargs)

    def losses(self, views, targets, own):
        features = [self.encode(view, own) for view in views]
        one, other = (normalize(self.project(h)) for h in features)  # (n, DIM) each
        similarity = ops.matmul(one, ops.transpose(other)) / 0.2  # (n, n)
        partners = ops.arange(ops.shape(similarity)[0])
        loss = ops.sparse_categorical_crossentropy(partners, similarity, from_logits=True)
        return Outcome(features[0], (loss,))


@dataclasses.dataclass(frozen=True)
class TinySettings(MethodSettings):
    """It has none beside those of every run."""

    title = "Tiny"
    summary = "each view is to be told from the batch's others by its partner"
    reference = "https://example.org/tiny"
    model = "tiny_method:TinyMethod"
    terms = {"contrast": "L"}
    columns = {}
