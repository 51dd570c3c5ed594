"""What all methods share: the training step.

A method's file says what it learns from two views, in the order of its paper. It subclasses
`Method`, names its losses in `terms`, and fills in the verbs it needs:

`targets`   before the gradient: what is predicted, by slow networks say
`losses`    under the tape: features, and each loss as one value an example
`weights_of_terms`  what each loss counts for at this step
`remember`  after the gradient step: queues, clusters
`directions` the unit vectors that stand for clusters, where the method has any

`evaluate` calls `targets` and `losses` as well, for images that nothing is learnt from: they ask
networks by `encode`, `project`, `run` and `keys`, and assign no state unless `learning`.
"""

from types import MappingProxyType
from typing import NamedTuple

import keras
import tensorflow as tf
from keras import ops

from cueco_tf.methods.assigning import AssigningModel
from cueco_tf.parts.clusters import normalize
from cueco_tf.parts.momentum import MomentumNetwork, cosine_momentum
from cueco_tf.parts.probe import OnlineProbe


class Outcome(NamedTuple):
    """What a method's `losses` found for the n examples of a step.

    `features` `(n, dim)` are what the online probe learns from; `terms` are the losses in the
    order of the method's names, `(n,)` each; `kept` is what `remember` needs of it.
    """

    features: object
    terms: tuple
    kept: object = None


class Method(AssigningModel):
    """An encoder trained on pairs of views; the subclass says how.

    `model(images)` is z, the L2-normalised projection; `model.encoder` gives the features h. The
    slow networks of a method that has them are `key_encoder` and `key_head`.

    Args:
        encoder: as in `TwoViewModel`.
        head: function from the number of features to a built Keras model from features to
            `(n, projection_dim)`.
        key_momentum: (start, end) of the slow copies of encoder and head, along half a cosine over
            the length of training, or None for a method without them.
        num_classes: integer >= 2 to train an online linear probe beside the encoder, or None.
        **kwargs: as in `TwoViewModel`.

    Raises:
        ValueError: for an encoder of other shapes, or a number out of range.
    """

    terms = ()
    least_batch = 1
    settings = MappingProxyType({})  # arguments of the subclass, saved with the model

    def __init__(self, encoder, head, key_momentum=None, num_classes=None, **kwargs):
        super().__init__(encoder, **kwargs)
        if num_classes is not None and num_classes < 2:
            raise ValueError(
                f"`num_classes` should be at least 2. Received: num_classes={num_classes}"
            )
        features = self.encoder.output_shape[-1]
        self.head, self.key_momentum, self.num_classes = head(features), key_momentum, num_classes
        if key_momentum is not None:
            self.key_encoder = MomentumNetwork(self.encoder, name="key_encoder")
            self.key_head = MomentumNetwork(self.head, name="key_head")
        if num_classes is not None:
            self.probe = OnlineProbe(features, num_classes, self.seed + 2)
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

    def check_fit(self, images, batch_size):
        """As `TwoViewModel.check_fit`; refuses batches of fewer images than the losses compare."""
        if batch_size < self.least_batch:
            raise ValueError(
                f"`batch_size` should be at least {self.least_batch} for {type(self).__name__}, "
                f"which compares the images of a batch. Received: batch_size={batch_size}"
            )

    # What it may call.

    def encode(self, view, own):
        """Features h of a view's own images, `(own, dim)`, with gradient unless all is frozen."""
        features = self.run(self.encoder, view)[:own]
        return features if self.encoder.trainable_variables else ops.stop_gradient(features)

    def project(self, features):
        """Projections of features, not yet normalised, with gradient."""
        return self.run(self.head, features)

    def keys(self, view, own):
        """Projections of a view's own images by the slow networks, not yet normalised."""
        return self.run(self.key_head, self.run(self.key_encoder, view)[:own])

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
        logs["learning_rate"] = ops.convert_to_tensor(self.optimizer.learning_rate)
        self.minimise(loss, tape)
        logs |= self.remember(targets, outcome)
        self.step.assign_add(1)
        if self.num_classes is not None:
            logs["online_top1"] = self.probe.accuracy.result()
        return logs

    def test_step(self, data):
        """The losses of a batch `(views, labels)`; returns logs, and leaves all state but the
        running means of these alone."""
        views, labels = data
        own = ops.shape(labels)[0]
        outcome = self.losses(views, self.targets(views, own), own)
        total = self._weighed(outcome.terms)
        count = self.replica_sum(ops.cast(ops.shape(total)[0], "float32"))
        logs = self._report(total, outcome.terms, count)
        if self.num_classes is not None:
            copies = ops.shape(outcome.features)[0] // ops.maximum(own, 1)
            labels = ops.tile(labels, (copies,))
            self.probe.loss(outcome.features, labels, self.replica_sum)
            logs["online_top1"] = self.probe.accuracy.result()
        return logs

    def begin(self, epochs, steps_per_epoch):
        """As `TwoViewModel.begin`; before the first step slow networks become copies of the others,
        which may have been given other weights since they were made."""
        super().begin(epochs, steps_per_epoch)
        if self.key_momentum is not None and self.steps_done() == 0:
            self.key_encoder.copy(self.encoder)
            self.key_head.copy(self.head)

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
        weighed = [weight * term for weight, term in pairs if not _is_zero(weight)]
        # Not by `+`, which TensorFlow may take in another order each time (see `LARS`).
        return ops.sum(ops.stack(weighed), axis=0)

    def _report(self, total, terms, count):
        """Updates the mean losses of the epoch, or of `evaluate`, and returns them."""
        values = dict(zip(("loss", *self.terms), (total, *terms), strict=True))
        shares = dict(zip(("loss", *self.terms), (1.0, *self.shares_of_terms()), strict=True))
        sums = self.replica_sum(ops.stack([ops.sum(value) for value in values.values()]))
        for (name, mean), value in zip(self.means.items(), ops.unstack(sums), strict=True):
            mean.update_state(value / count, sample_weight=count * shares[name])
        return {name: mean.result() for name, mean in self.means.items()}

    def get_config(self):
        """The arguments of every method and its own, for Keras to save."""
        return {**super().get_config(), "num_classes": self.num_classes, **self.settings}


def _is_zero(weight):
    return isinstance(weight, (int, float)) and weight == 0
