"""Subsets of CIFAR-100's training images: which batches and how many steps suit them.

    TFDS_DATA_DIR=... python docs/results/small_sets.py IMAGES CLASSES BATCH STEPS RATE CLUSTERS

Trains CueCo (ResNet-10 of width 16, seed 0) on so many images of so many classes drawn by a fixed
seed, and scores the features of these very images, whose labels training does not see: k-NN by the
five nearest others, NMI and ACC of k-means with as many clusters as there are classes. The same of
raw pixels is printed first.
"""

import sys

import cueco_tf  # first: it switches TensorFlow's fast CPU path on

# isort: split
import keras
import numpy as np
from sklearn.cluster import KMeans

from cueco_tf import data
from cueco_tf.evaluation import clustering_scores, normalize

NEIGHBOURS = 5


def subset(count, classes):
    """`(images, labels)`: the same number of each class."""
    full = data.load("cifar100").train
    rng = np.random.default_rng(0)
    index = [
        rng.choice(np.flatnonzero(full.labels == c), count // classes, replace=False)
        for c in rng.choice(100, classes, replace=False)
    ]
    index = np.sort(np.concatenate(index))
    labels = np.unique(full.labels[index], return_inverse=True)[1]
    return full.images[index], labels.astype(np.int32)


def scores(features, labels, classes):
    """k-NN, NMI and ACC in words."""
    h = normalize(features)
    similarity = h @ h.T
    np.fill_diagonal(similarity, -np.inf)
    near = np.argsort(-similarity, axis=1)[:, :NEIGHBOURS]
    votes = np.array([np.bincount(labels[row]).argmax() for row in near])
    found = KMeans(classes, n_init=10, random_state=0).fit_predict(h)
    own = clustering_scores(labels, found)
    knn = np.mean(votes == labels)
    return f"k-NN {knn:.1%}, NMI {own['nmi']:.1%}, ACC {own['acc']:.1%}"


def main(count, classes, batch_size, steps, rate, clusters):
    """Trains and prints."""
    images, labels = subset(count, classes)
    print("raw pixels:", scores(np.float32(images.reshape(count, -1)), labels, classes))
    keras.utils.set_random_seed(0)
    epochs = round(steps / -(-count // batch_size))
    steps = epochs * -(-count // batch_size)
    model = cueco_tf.CueCo(
        cueco_tf.build_encoder("resnet10", width=16, image_size=32),
        num_clusters=clusters,
        queue_size=min(4096, count),
        key_momentum=(0.99, 0.999),
        warmup_steps=round(0.3 * steps),
        ramp_steps=round(0.7 * steps),
    )
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps - steps // 10, warmup_target=rate, warmup_steps=steps // 10
    )
    model.compile(optimizer=keras.optimizers.SGD(schedule, momentum=0.9))
    model.fit(images, batch_size=batch_size, epochs=epochs, verbose=0)
    features = model.encoder.predict(images, verbose=0)
    print(f"CueCo, {epochs} epochs:", scores(features, labels, classes))


if __name__ == "__main__":
    *numbers, rate, clusters = sys.argv[1:]
    main(*map(int, numbers), float(rate), int(clusters))
