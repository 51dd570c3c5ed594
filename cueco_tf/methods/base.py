"""What all methods share: the training step.

A method's file says what it learns from two views, in the order of its paper. It subclasses
`Method`, names its losses in `terms`, and fills in the verbs it needs:

`targets`   before the gradient: what is predicted, by slow networks say
`losses`    under the tape: features, and each loss as one value an example
`weights_of_terms`  what each loss counts for at this step
`remember`  after the gradient step: queues, clusters
`directions` the unit vectors that stand for clusters, where the method has any
"""

from types import MappingProxyType
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from cueco_tf.data.views import check_images
from cueco_tf.methods.fitting import DEFAULT_BATCH_SIZE, TwoViewModel
from cueco_tf.parts.clusters import assign, normalize
from cueco_tf.parts.momentum import MomentumNetwork, cosine_momentum
from cueco_tf.parts.probe import OnlineProbe

_BLOCK = 4096  # images whose similarities to all directions are held at once


class Outcome(NamedTuple):
    """What a method's `losses` found for the n examples of a step.

    `features` `(n, dim)` are what the online probe learns from; `terms` are the losses in the
    order of the method's names, `(n,)` each; `kept` is what `remember` needs of it.
    """

    features: object
    terms: tuple
    kept: object = None


class Method(TwoViewModel):
    """An encoder trained on pairs of views; the subclass says how.

    `model(images)` is z, the L2-normalised projection; `model.encoder` gives the features h. The
    slow networks of a method that has them are `key_encoder` and `key_head`.

    Args:
        encoder: a built Keras model from images `(n, height, width, 3)` to features
            `(n, features)`.
        head: a built Keras model from features to `(n, projection_dim)`.
        key_momentum: (start, end) of the slow copies of encoder and head, along half a cosine over
            the length of training, or None for a method without them.
        num_classes: integer >= 2 to train an online linear probe beside the encoder, or None.
        **kwargs: as in `TwoViewModel`.

    Raises:
        ValueError: for an encoder of other shapes, or a number out of range.
    """

    terms = ()
    directions_trained = True
    least_batch = 1
    settings = MappingProxyType({})  # arguments of the subclass, saved with the model

    def __init__(self, encoder, head, key_momentum=None, num_classes=None, **kwargs):
        super().__init__(encoder, **kwargs)
        if num_classes is not None and num_classes < 2:
            raise ValueError(
                f"`num_classes` should be at least 2. Received: num_classes={num_classes}"
            )
        self.head, self.key_momentum, self.num_classes = head, key_momentum, num_classes
        if key_momentum is not None:
            self.key_encoder = MomentumNetwork(encoder, name="key_encoder")
            self.key_head = MomentumNetwork(head, name="key_head")
        if num_classes is not None:
            self.probe = OnlineProbe(encoder.output_shape[-1], num_classes, self.seed + 2)
        self.means = {
            name: keras.metrics.Mean(name=name) for name in dict.fromkeys(("loss", *self.terms))
        }
        self.built = True

    # What a method fills in.

    def targets(self, views, own):
        """What the losses predict, without gradient; called before the tape.

        Args:
            views: two float32 `(n, height, width, 3)`; more images than `own` serve the statistics
                of BatchNormalization alone.
            own: integer scalar, how many of them are this replica's.

        Returns:
            Anything; `losses` and `remember` get it.
        """

    def losses(self, views, targets, own):
        """The losses of the step's examples: `Outcome`. Called under the tape.

        One value an example; a term of the whole batch is the same for each of them. State is read
        and not touched.
        """
        raise NotImplementedError

    def weights_of_terms(self):
        """What each term counts for: numbers, or scalars that follow the step. A term whose weight
        is the number 0 gives no gradient."""
        return (1.0,) * len(self.terms)

    def shares_of_terms(self):
        """For each term 1, or 0 while it does not count in the mean that is reported."""
        return (1.0,) * len(self.terms)

    def remember(self, targets, outcome):
        """Moves on what lasts from step to step; returns logs, a dict of scalars."""
        return {}

    def directions(self):
        """Unit vectors `(L, projection_dim)` that stand for clusters in the space of z, or None."""
        return None

    def check_fit(self, images, batch_size):
        """Looks at an array's size before `fit` begins.

        Args:
            images: integer, how many there are.
            batch_size: integer, of all replicas together.

        Raises:
            ValueError: for batches of fewer images than the losses compare.
        """
        if batch_size < self.least_batch:
            raise ValueError(
                f"`batch_size` should be at least {self.least_batch} for {type(self).__name__}, "
                f"which compares the images of a batch. Received: batch_size={batch_size}"
            )

    # What it may call.

    def encode(self, view, own):
        """Features h of a view's own images, `(own, dim)`, with gradient."""
        return self.encoder(view, training=True)[:own]

    def project(self, features):
        """Projections of features, not yet normalised, with gradient."""
        return self.head(features, training=True)

    def keys(self, view, own):
        """Projections of a view's own images by the slow networks, not yet normalised."""
        return self.key_head(self.key_encoder(view)[:own])

    def call(self, images, training=False):
        """z: the L2-normalised projections of images, float32 `(n, projection_dim)`."""
        return normalize(self.head(self.encoder(images, training=training), training=training))

    # The step.

    def train_step(self, data):
        """One step on a batch `(views, labels)`; returns logs, a dict of scalars."""
        views, labels = self.views_of(data)
        own = ops.shape(labels)[0]
        logs = self._follow()
        targets = self.targets(views, own)
        with tf.GradientTape() as tape:
            outcome = self.losses(views, targets, own)
            total = self._weighed(outcome.terms)  # (n,)
            count = self.replica_sum(ops.cast(ops.shape(total)[0], "float32"))
            loss = ops.sum(total) / count
            copies = ops.shape(outcome.features)[0] // ops.maximum(own, 1)
            if self.num_classes is not None:
                labels = ops.tile(labels, (copies,))
                loss += self.probe.loss(outcome.features, labels, self.replica_sum)
            loss = self.optimizer.scale_loss(loss)
        logs = {**self._report(total, outcome.terms, count), **logs}
        self.minimise(loss, tape)
        logs |= self.remember(targets, outcome)
        self.step.assign_add(1)
        if self.num_classes is not None:
            logs["online_top1"] = self.probe.accuracy.result()
        return logs

    def _follow(self):
        """Moves the slow networks, which get no gradient."""
        if self.key_momentum is None:
            return {}
        momentum = cosine_momentum(*self.key_momentum, self.step.value, self.total_steps.value)

        def follow(momentum):
            self.key_encoder.follow(self.encoder, momentum)
            self.key_head.follow(self.head, momentum)

        self.move_weights(follow, momentum)
        return {"key_momentum": momentum}

    def _weighed(self, terms):
        pairs = zip(self.weights_of_terms(), terms, strict=True)
        return sum(weight * term for weight, term in pairs if not _is_zero(weight))

    def _report(self, total, terms, count):
        """Updates the epoch's mean losses; returns them and the learning rate."""
        values = dict(zip(("loss", *self.terms), (total, *terms), strict=True))
        shares = dict(zip(("loss", *self.terms), (1.0, *self.shares_of_terms()), strict=True))
        sums = self.replica_sum(ops.stack([ops.sum(value) for value in values.values()]))
        for (name, mean), value in zip(self.means.items(), ops.unstack(sums), strict=True):
            mean.update_state(value / count, sample_weight=count * shares[name])
        logs = {name: mean.result() for name, mean in self.means.items()}
        return {**logs, "learning_rate": ops.convert_to_tensor(self.optimizer.learning_rate)}

    def fit(self, x, y=None, batch_size=None, *args, **kwargs):
        """Trains on images, with the arguments and results of `TwoViewModel.fit`; looks at their
        number and the batch's before (`check_fit`)."""
        if hasattr(x, "__len__") and not hasattr(x, "element_spec"):
            self.check_fit(len(x), batch_size or DEFAULT_BATCH_SIZE)
        return super().fit(x, y, batch_size, *args, **kwargs)

    # The trained model.

    def assign(self, images, batch_size=256):
        """The cluster of each image, without augmentation.

        Args:
            images: `(n, height, width, 3)` array, pixels 0 to 255, uint8 or float.
            batch_size: integer >= 1, defaults to 256.

        Returns:
            `(n,)` int32 array: the argmax over the directions d of z . d.

        Raises:
            ValueError: for images of another shape or dtype, or a method without directions.
        """
        images = check_images(images, self.image_shape)
        return self.nearest(self.predict(images, batch_size=batch_size, verbose=0))

    def nearest(self, z):
        """The direction nearest to each L2-normalised projection.

        Args:
            z: float32 `(n, projection_dim)`.

        Returns:
            `(n,)` int32 array.

        Raises:
            ValueError: for a method without directions.
        """
        directions = self.directions()
        if directions is None:
            raise ValueError(f"{type(self).__name__} has no clusters of its own: use k-means on z.")
        blocks = (assign(z[i : i + _BLOCK], directions) for i in range(0, len(z), _BLOCK))
        return np.concatenate([ops.convert_to_numpy(block) for block in blocks])

    def get_config(self):
        """The arguments of every method and its own, for Keras to save."""
        return {**super().get_config(), "num_classes": self.num_classes, **self.settings}


def _is_zero(weight):
    return isinstance(weight, (int, float)) and weight == 0
