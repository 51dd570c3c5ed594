"""The clusters of a run, made of the training images' projections z when training ends and kept as
RUN/clusters.npz: the directions that its method learnt, settled for the encoder that is kept, or
where it learns none k-means."""

import dataclasses

import keras
import numpy as np
from keras import ops

from cueco_tf.evaluation.networks import features, without_xla
from cueco_tf.methods.assigning import MOST_SETTLED
from cueco_tf.methods.inference import inference_network
from cueco_tf.parts.clusters import seeding_trials, spherical_kmeans
from cueco_tf.parts.settled import nearest
from cueco_tf.running.run_folder import RunError
from cueco_tf.storage import write_atomically

LEARNT, KMEANS = "centroids", "k-means of z"  # what the clusters are
_PER_CLASS, _UNKNOWN = 10, 100


@dataclasses.dataclass(frozen=True)
class Clusters:
    """L directions on the unit sphere; an image belongs to the one most similar to its z.

    `directions` is float32 `(L, dim)`, L2-normalised; `are` is `LEARNT` or `KMEANS`; `trained` is
    False for directions that are as random as they began.
    """

    directions: np.ndarray
    are: str
    trained: bool = True


def cluster_count(num_classes, images):
    """How many clusters k-means makes: ten a class, 100 where classes are unknown, a quarter of the
    images at most, two at least."""
    wanted = _UNKNOWN if num_classes is None else _PER_CLASS * num_classes
    return max(2, min(wanted, images // 4))


def make_clusters(folder, model, train, seed):
    """Writes RUN/clusters.npz, and settles the model's own clusters.

    Args:
        folder: `RunFolder`.
        model: the trained method.
        train: split of training images, of which 50,000 are used at most.
        seed: integer: the same seed, images and weights give the same clusters.

    Returns:
        A dict for the summary: `clusters`, how many there are, and `clusters_used`, how many of
        them those images use. The latter is None, and nothing is written, for a method whose own
        clusters have not started.
    """
    own = model.directions()
    if own is not None and not model.directions_trained:
        return {"clusters": int(own.shape[0]), "clusters_used": None}
    network = inference_network(model)
    network = keras.Model(network.inputs, network.output["projection"])
    z = features(without_xla(network), train.sample(MOST_SETTLED, seed))
    if own is None:
        directions = _kmeans(z, cluster_count(model.num_classes, len(z)), seed)
    else:
        model.settle(z)
        directions = model.settled.settled.numpy()

    def write(path):
        with open(path, "wb") as file:
            np.savez(file, directions=directions)

    write_atomically(folder.clusters, write)
    used = len(np.unique(nearest(z, directions)))
    return {"clusters": len(directions), "clusters_used": used}


def in_words(model, clusters):
    """A line on what `make_clusters` returned: how many clusters the kept encoder makes use of."""
    count, used = clusters["clusters"], clusters["clusters_used"]
    if used is None:
        return f"Clusters:   none of {count} has started: {model.waits_for()}"
    return f"Clusters:   the training images use {used} of {count}"


def _kmeans(z, count, seed):
    uniforms = np.random.default_rng(seed).random((count, seeding_trials(count)), np.float32)
    directions, _, _ = spherical_kmeans(ops.convert_to_tensor(z), ops.convert_to_tensor(uniforms))
    return ops.convert_to_numpy(directions)


def read_clusters(folder, model):
    """The clusters of a run, which its model then assigns images to as well.

    Args:
        folder: `RunFolder`.
        model: its method, in its newest state.

    Returns:
        `Clusters`, or None where they are k-means of z and training has not ended yet.

    Raises:
        RunError: for a file that is damaged, or of another model.
    """
    own, path = model.directions(), folder.clusters
    if not path.exists():
        if own is None:
            return None
        return Clusters(ops.convert_to_numpy(own), LEARNT, bool(model.directions_trained))
    try:
        with np.load(path, allow_pickle=False) as file:
            directions = file["directions"]
    except Exception as error:  # zip, npy and pickle errors come in many kinds
        raise RunError(f"{path} cannot be read: {error}") from error
    dim, count = model.head.output_shape[-1], None if own is None else int(own.shape[0])
    if (
        directions.dtype != np.float32
        or directions.ndim != 2
        or directions.shape != (count or len(directions), dim)
    ):
        raise RunError(
            f"{path} should hold directions, float32 ({count or 'L'}, {dim}). "
            f"Received: {directions.dtype} {directions.shape}"
        )
    if own is None:
        return Clusters(directions, KMEANS)
    model.settled.put(directions, model.steps_done())
    return Clusters(directions, LEARNT)
