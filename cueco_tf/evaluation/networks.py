"""Scores of a network on a labelled image set, by the protocols of the field."""

import keras
import numpy as np
from keras import ops
from tqdm.keras import TqdmCallback

from cueco_tf import evaluation
from cueco_tf.data.augment import TwoViews
from cueco_tf.parts.batch_norm import to_stock_layers

# The published baselines' linear evaluation divides the rate by 10 at these shares of training.
_RATE_DROPS = (0.6, 0.8)
_PIXELS = 32  # larger images are averaged down to about this size before they count as features


def pixel_network(image_size, channels=3):
    """Images as they are, flattened: what a learned encoder has to beat."""
    images = keras.Input((image_size, image_size, channels), name="images")
    x = keras.layers.Rescaling(1 / 255)(images)
    if image_size >= 2 * _PIXELS:
        pool = keras.layers.AveragePooling2D(image_size // _PIXELS, data_format="channels_last")
        x = pool(x)
    pixels = keras.layers.Flatten(data_format="channels_last")(x)
    return keras.Model(images, pixels, name="raw_pixels")


def without_xla(network):
    """A network for a few passes, on the same weights. Keras would have XLA compile it on a GPU,
    which takes longer than they do."""
    plain = keras.Model(network.inputs, network.outputs[0])
    plain.compile(jit_compile=False)
    return plain


def features(network, split):
    """The network's output for each image of a split, in inference mode: float32 `(n, dim)`."""
    return network.predict(split.plain_batches(), verbose=0)


def score_network(network, train, test, seed=0, linear=True):
    """The scores of a frozen network: `evaluation.score_features` of its features.

    Args:
        network: a Keras model from images to features.
        train: labelled split; images of label -1 are left out.
        test: the same.
        seed: integer, for k-means and the held-out tenth. Defaults to 0.
        linear: whether to fit a linear probe as well. Defaults to True.

    Returns:
        A dict of floats; without the linear probe's where that is not wanted.
    """
    network, train, test = without_xla(network), train.labelled(), test.labelled()
    arrays = features(network, train), train.labels, features(network, test), test.labels
    score = evaluation.score_features if linear else evaluation.score_neighbours_and_clusters
    return score(*arrays, seed)


def score_clusters(model, test):
    """What a model's own directions and online probe say of a test split.

    By copies of its networks: the model may be one of several replicas in as many processes, whose
    `predict` would wait for the others.

    Args:
        model: the method, such as `CueCo`.
        test: labelled split.

    Returns:
        A dict of `online_top1` (None without a probe) and, for a model with directions of its own,
        `centroid_nmi`, `centroid_acc`, `centroid_ari` (None before they are trained).
    """
    scores, test = {"online_top1": None}, test.labelled()
    h = features(without_xla(to_stock_layers(model.encoder)), test)
    if model.num_classes is not None:
        predicted = ops.convert_to_numpy(model.probe(h)).argmax(axis=1)
        scores["online_top1"] = float(np.mean(predicted == test.labels))
    if model.directions() is not None:
        scores |= dict.fromkeys(("centroid_nmi", "centroid_acc", "centroid_ari"))
    if model.directions() is not None and model.directions_trained:
        z = _projections(model, h)
        own = evaluation.clustering_scores(test.labels, model.nearest(z))
        scores |= {f"centroid_{name}": value for name, value in own.items()}
    return scores


def score_projections(model, test, num_clusters, seed=0):
    """How well k-means on a method's projections z agrees with the labels of a test split.

    Args:
        model: the method, such as `CueCo`.
        test: labelled split.
        num_clusters: integer >= 2.
        seed: integer, defaults to 0.

    Returns:
        A dict of floats: `z_nmi`, `z_acc`, `z_ari`, as in `evaluation.kmeans_scores`.
    """
    h = features(without_xla(to_stock_layers(model.encoder)), test)
    scores = evaluation.kmeans_scores(_projections(model, h), test.labels, num_clusters, seed)
    return {f"z_{name}": value for name, value in scores.items()}


def _projections(model, h):
    """z of features h: `(n, projection_dim)`, L2-normalised."""
    return evaluation.normalize(to_stock_layers(model.head).predict(h, verbose=0))


def train_linear_classifier(
    encoder,
    train,
    test,
    num_classes,
    epochs=100,
    batch_size=256,
    learning_rate=0.3,
    crop_scale=(0.08, 1.0),
    flip=0.5,
    seed=0,
):
    """Top-1 accuracy of a linear layer trained by SGD on a frozen encoder and augmented images.

    SGD with momentum 0.9 and no weight decay, the rate divided by 10 after 60 and 80 % of the
    epochs, on resized crops and flips. The encoder runs in inference mode: its weights and its
    BatchNormalization statistics stay as they are.

    Args:
        encoder: a Keras model from images to features.
        train: labelled split.
        test: labelled split.
        num_classes: integer >= 2.
        epochs: integer >= 1. Defaults to 100.
        batch_size: integer >= 1. Defaults to 256.
        learning_rate: float > 0, for a batch of 256; scaled in proportion. Defaults to 0.3.
        crop_scale: (least, most) share of the image's area. Defaults to (0.08, 1).
        flip: float in [0, 1], the probability of a horizontal flip. Defaults to 0.5.
        seed: integer, defaults to 0.

    Returns:
        Float in [0, 1].

    Raises:
        ValueError: when training diverges.
    """
    train, test = train.labelled(), test.labelled()
    steps = -(-len(train) // batch_size)
    classifier = _linear_classifier(encoder, num_classes, seed)
    classifier.compile(
        optimizer=_stepwise_sgd(learning_rate * batch_size / 256, epochs * steps),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    augment = TwoViews(
        crop_scale=crop_scale, flip=flip, jitter=(0, 0, 0, 0), gray=0, blur=0, solarise=0
    )
    batches = train.training_batches(batch_size, augment, seed, 0)
    classifier.fit(
        batches.map(lambda views, labels: (views[0], labels)),
        epochs=epochs,
        steps_per_epoch=steps,
        shuffle=False,  # the batches come shuffled
        verbose=0,
        callbacks=[TqdmCallback(verbose=0, desc="linear evaluation")],
    )
    logits = classifier.predict(test.plain_batches(), verbose=0)
    if not np.isfinite(logits).all():
        raise ValueError(f"The linear classifier diverged at learning rate {learning_rate}.")
    return float(np.mean(logits.argmax(axis=1) == test.labels))


def _linear_classifier(encoder, num_classes, seed):
    """A linear layer on a copy of the encoder that stays as it is."""
    frozen = to_stock_layers(encoder)
    frozen.trainable = False  # which puts Keras's BatchNormalization in inference mode
    initializer = keras.initializers.GlorotUniform(seed=seed)
    return keras.Sequential(
        [frozen, keras.layers.Dense(num_classes, kernel_initializer=initializer)]
    )


def _stepwise_sgd(rate, steps):
    """SGD with momentum whose rate falls to a tenth at each of `_RATE_DROPS`."""
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay(
        [int(share * steps) for share in _RATE_DROPS], [rate, rate / 10, rate / 100]
    )
    return keras.optimizers.SGD(schedule, momentum=0.9)
