"""What an export must prove: that its files agree, and what a lower precision costs."""

import time
from collections import Counter

import keras
import numpy as np
import tensorflow as tf

from cueco_tf.evaluation.features import knn_accuracy, normalize
from cueco_tf.export.reading import (
    KERAS,
    ONNX,
    OUTPUTS,
    SAVED_MODEL,
    Encoder,
    Outputs,
    ParityError,
)
from cueco_tf.process import seeded
from cueco_tf.progress import tqdm

TOLERANCE = 1e-4
KNN_LOSS = 0.005  # the loss of k-NN accuracy above which a lower precision is warned about
_KNN_TRAIN, _KNN_TEST = 10_000, 5_000


def parity(folder, network, images, clusters_of=None):
    """Compares the files in a folder with the network that they were written from.

    Args:
        folder: path that holds all three formats, in float32.
        network: the serving network, from the run's own weights.
        images: `(n, height, width, channels)`, real ones.
        clusters_of: `(m,)` integers, the cluster that each sum of the layer `centroids` speaks
            for; None where each has its own. Defaults to None.

    Returns:
        A dict for the manifest: by file, the largest relative difference of an embedding
        (Euclidean norm), the number of images in another cluster, and how many of those are ties
        (two centroids as similar as `TOLERANCE`).

    Raises:
        ParityError: when an embedding differs by more than `TOLERANCE`, or a cluster differs
            without a tie.
    """
    embeddings = network.predict(images, batch_size=64, verbose=0)["embedding"]
    similarities = _similarities(network, images, clusters_of)
    clusters = similarities.argmax(axis=1)
    tie = TOLERANCE * max(1.0, np.abs(similarities).max())  # a cosine is 1 at most

    # What was written, read back as its users will.
    with seeded(0):  # as all weights are read, it does not matter
        loaded = keras.models.load_model(folder / KERAS)
    keras_file = loaded.predict(images, batch_size=64, verbose=0)
    serve = tf.saved_model.load(folder / SAVED_MODEL).signatures["serving_default"]
    parts = [serve(images=tf.constant(images[i : i + 64])) for i in range(0, len(images), 64)]
    saved_model = {name: np.concatenate([part[name] for part in parts]) for name in OUTPUTS}
    candidates = {
        KERAS: Outputs(*(keras_file[name] for name in OUTPUTS)),
        SAVED_MODEL: Outputs(*(saved_model[name] for name in OUTPUTS)),
        ONNX: Encoder(folder / ONNX).encode(images),
    }

    figures = {"precision": "float32", "images": len(images), "tolerance": TOLERANCE}
    rows = np.arange(len(images))
    scale = np.maximum(np.linalg.norm(embeddings, axis=1), 1e-12)
    for name, outputs in candidates.items():
        difference = np.linalg.norm(outputs.embeddings - embeddings, axis=1) / scale
        gap = similarities[rows, clusters] - similarities[rows, outputs.clusters]
        figures[name] = {
            "embedding_difference": float(difference.max()),
            "clusters_differing": int(np.sum(outputs.clusters != clusters)),
            "of_these_ties": int(np.sum((outputs.clusters != clusters) & (gap <= tie))),
        }
        if not difference.max() <= TOLERANCE or np.any(gap > tie):
            raise ParityError(
                f"{name} does not compute what the trained network does: embeddings should agree "
                f"to {TOLERANCE} and clusters but for ties. Received on {len(images)} real images: "
                f"difference {difference.max():.2g}, {int(np.sum(gap > tie))} clusters."
            )
    return figures


def _similarities(network, images, clusters_of):
    """What the cluster of each image is the largest of, float32 `(n, L)`."""
    compared = keras.Model(network.inputs, network.get_layer("centroids").output)
    found = compared.predict(images, batch_size=64, verbose=0)
    if clusters_of is None:
        return found
    most = np.full((clusters_of.max() + 1, len(images)), -np.inf, np.float32)
    np.maximum.at(most, clusters_of, found.T)
    return most.T


def price(exact, reduced, images):
    """Measures what a lower precision costs and what it gives, both encoders in turn.

    Args:
        exact: `Encoder` in float32.
        reduced: `Encoder` of the same network at the lower precision.
        images: `data.ImageSet`; up to 10,000 training and 5,000 test images are used, training
            images alone where there are no labels.

    Returns:
        A dict for the manifest: cosine of embeddings to float32 (mean and least), share of images
        in the same cluster, and by precision the images a second and, with labels, k-NN accuracy.
    """
    encoders = {"float32": exact, "reduced": reduced}
    labelled = images.train if images.test is None else images.train.labelled()
    train = labelled.sample(_KNN_TRAIN)
    _encode(encoders, train.sample(512), Counter())  # warms up
    seconds = Counter()
    measured = outputs = _encode(encoders, train, seconds)
    rates = {name: round(len(train) / seconds[name], 1) for name in encoders}
    figures = {"images_per_second": rates}
    if images.test is not None:
        test = images.test.labelled().sample(_KNN_TEST)
        measured = _encode(encoders, test, Counter())
        figures["knn_top1"] = {
            name: knn_accuracy(
                outputs[name].embeddings, train.labels, measured[name].embeddings, test.labels
            )
            for name in encoders
        }
    exact, reduced = (normalize(measured[name].embeddings) for name in encoders)
    cosine = np.sum(exact * reduced, axis=1)
    same = measured["float32"].clusters == measured["reduced"].clusters
    figures["cosine_mean"], figures["cosine_least"] = float(cosine.mean()), float(cosine.min())
    figures["same_cluster"] = float(same.mean())
    return figures


def warnings(manifest):
    """What the user of an export should know before relying on it: a list of sentences."""
    found = []
    scores = (manifest["price"] or {}).get("knn_top1")
    if scores and scores["float32"] - scores["reduced"] > KNN_LOSS:
        loss = 100 * (scores["float32"] - scores["reduced"])
        found.append(
            f"{manifest['precision']} loses {loss:.1f} points of k-NN accuracy: prefer float16 or "
            f"float32 for this encoder."
        )
    if not manifest["clusters_trained"]:
        found.append(
            "The clusters of this run never started (its warm-up was not over): `cluster` is the "
            "nearest of random directions and means nothing. The embeddings are fine."
        )
    used, count = manifest["clusters_used"], manifest["clusters"]
    if used is not None and used < min(count, manifest["run"]["config"]["train_images"]) / 2:
        found.append(
            f"The training images use {used} of the {count} clusters; the others are empty."
        )
    return found


def _encode(encoders, split, seconds):
    """Runs every encoder over a split, in turn on each batch, and adds up the seconds of each."""
    parts = {name: [] for name in encoders}
    with tqdm(total=len(split), desc="Measuring", unit=" images", leave=False) as bar:
        for batch in split.plain_batches(512).as_numpy_iterator():
            for name, encoder in encoders.items():
                start = time.monotonic()
                parts[name].append(encoder.encode(batch))
                seconds[name] += time.monotonic() - start
            bar.update(len(batch))
    return {
        name: Outputs(*map(np.concatenate, zip(*blocks, strict=True)))
        for name, blocks in parts.items()
    }
