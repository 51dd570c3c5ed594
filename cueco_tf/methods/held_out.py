"""What is said of held-out images while a model is trained, beside its losses."""

import numpy as np

from cueco_tf.methods.inference import looks_at

_MOST = 10_000  # images of either side: enough to see a trend


class HeldOut:
    """Completes the logs of a validation.

    Args:
        model: `TwoViewModel`.
        train: source of training images, of which 10,000 vote for classes at most.
        test: source of held-out images, of which 10,000 are classified at most.
    """

    def __init__(self, model, train, test):
        self.train, self.test = train, test
        self._look = looks_at(model.encoder, model.image_shape)

    def complete(self, logs):
        """Adds `knn_top1`, k = 20, by the features of the encoder as it is, where there are labels
        on both sides; takes the probe's accuracy away where held-out images have none."""
        if not self.test.labelled:
            logs.pop("online_top1", None)
        elif self.train.labelled and self.train.again and self.test.again:
            (train_x, train_y), (test_x, test_y) = map(self._labelled, (self.train, self.test))
            if len(train_x) and len(test_x):
                from cueco_tf.evaluation.features import knn_accuracy  # scikit-learn: a second

                logs["knn_top1"] = knn_accuracy(train_x, train_y, test_x, test_y)
        return logs

    def _labelled(self, source):
        pairs = [(self._look(images), labels) for images, labels in source.plain(_MOST)]
        features, labels = map(np.concatenate, zip(*pairs, strict=True))
        return features[labels >= 0], labels[labels >= 0]
