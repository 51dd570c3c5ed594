"""A method without queue, clusters or key network: the loss of SimCLR within a batch."""

import keras
from keras import ops

from cueco_tf.methods.base import Method, Outcome
from cueco_tf.parts.clusters import normalize
from cueco_tf.parts.heads import build_projection_head
from cueco_tf.parts.resnet import build_encoder

DIM = 32


class TinyMethod(Method):
    """Each view is to be told from the batch's others by its partner."""

    terms = ("contrast",)

    def __init__(self, encoder, **kwargs):
        head = build_projection_head(encoder.output_shape[-1], 64, DIM, seed=kwargs["seed"])
        super().__init__(encoder, head, **kwargs)

    def losses(self, views, targets, own):
        features = [self.encode(view, own) for view in views]
        one, other = (normalize(self.project(h)) for h in features)  # (n, DIM) each
        similarity = ops.matmul(one, ops.transpose(other)) / 0.2  # (n, n)
        partners = ops.arange(ops.shape(similarity)[0])
        loss = ops.sparse_categorical_crossentropy(partners, similarity, from_logits=True)
        return Outcome(features[0], (loss,))


def build(config):
    """What `build_model` gives for other methods: a compiled model of a resolved configuration."""
    keras.utils.set_random_seed(config.seed)
    model = TinyMethod(
        build_encoder(config.encoder, config.width, config.image_size),
        augment=config.augment(),
        total_steps=config.epochs * config.steps_per_epoch,
        num_classes=config.num_classes,
        seed=config.seed,
    )
    model.compile(optimizer=keras.optimizers.SGD(0.1, momentum=0.9))
    model.optimizer.build(model.trainable_variables)
    return model
