"""A method without queue, clusters or key network: the two views of an image shall be alike, and
the batch spread out."""

import keras
import tensorflow as tf
from keras import ops

from cueco_tf.methods.base import TwoViewModel
from cueco_tf.parts.clusters import normalize
from cueco_tf.parts.heads import build_projection_head

DIM = 32


class TinyMethod(TwoViewModel):
    """The loss of SimCLR on a small batch, in ten lines."""

    terms = ("contrast",)

    def __init__(self, encoder, **kwargs):
        super().__init__(encoder, **kwargs)
        self.head = build_projection_head(encoder.output_shape[-1], 64, DIM, seed=self.seed)
        self.means = {name: keras.metrics.Mean(name=name) for name in ("loss", *self.terms)}
        self.built = True

    def directions(self):
        """It learns none."""
        return None

    def call(self, images, training=False):
        return normalize(self.head(self.encoder(images, training=training), training=training))

    def train_step(self, data):
        (one, two), labels = data
        with tf.GradientTape() as tape:
            h, other = self.encoder(one, training=True), self.encoder(two, training=True)
            z = normalize(self.head(h, training=True))
            similar = ops.matmul(z, ops.transpose(normalize(self.head(other, training=True)))) / 0.2
            losses = ops.sparse_categorical_crossentropy(
                ops.arange(ops.shape(similar)[0]), similar, from_logits=True
            )
            loss = ops.mean(losses) + self.probe_loss(h, labels)
        self.minimise(loss, tape)
        self.step.assign_add(1)
        for mean in self.means.values():
            mean.update_state(losses)
        logs = {name: mean.result() for name, mean in self.means.items()}
        logs["learning_rate"] = ops.convert_to_tensor(self.optimizer.learning_rate)
        if self.num_classes is not None:
            logs["online_top1"] = self.probe_accuracy.result()
        return logs


def build(config):
    """What `build_model` gives for other methods: a compiled model of a resolved configuration."""
    from cueco_tf.parts.resnet import build_encoder

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
