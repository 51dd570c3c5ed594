"""A linear classifier that is trained beside an encoder and tells how good its features are."""

import keras
from keras import ops


class OnlineProbe(keras.layers.Layer):
    """A linear probe on the labels, whose gradient stops at the features.

    Its accuracy over the epoch is the metric `accuracy`, reported as `online_top1`.

    Args:
        features: integer >= 1, the length of a feature vector.
        num_classes: integer >= 2.
        seed: integer, for the initial weights.
    """

    def __init__(self, features, num_classes, seed, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(
            num_classes,
            kernel_initializer=keras.initializers.GlorotUniform(seed=seed),
            dtype="float32",
            name="online_probe",
        )
        self.dense.build((None, features))
        self.accuracy = keras.metrics.Mean(name="online_top1")
        self.built = True

    def call(self, features):
        """Logits, float32 `(n, num_classes)`, of features `(n, dim)`."""
        return self.dense(features)

    def loss(self, features, labels, replica_sum):
        """The loss on a replica's examples.

        Args:
            features: `(n, dim)`.
            labels: `(n,)` int32; -1 is ignored.
            replica_sum: function that adds a scalar up over all replicas.

        Returns:
            Scalar: this replica's share of the mean over all labelled examples.
        """
        logits = self(ops.stop_gradient(features))
        known = ops.cast(labels >= 0, "float32")
        count = replica_sum(ops.sum(known))
        targets = ops.maximum(labels, 0)
        losses = ops.sparse_categorical_crossentropy(targets, logits, from_logits=True)
        hits = ops.cast(ops.equal(ops.argmax(logits, axis=-1), targets), "float32")
        divisor = ops.maximum(count, 1.0)
        self.accuracy.update_state(
            replica_sum(ops.sum(hits * known)) / divisor, sample_weight=count
        )
        return ops.sum(losses * known) / divisor
