"""The clusters of a run: the directions that its method learnt or, where it learns none, k-means of
the training images' projections z, made when training ends and kept as RUN/clusters.npz."""

import dataclasses

import keras
import numpy as np
from keras import ops

from cueco_tf.evaluation.networks import features, without_xla
from cueco_tf.methods.inference import inference_network
from cueco_tf.parts.clusters import seeding_trials, spherical_kmeans
from cueco_tf.running.run_folder import RunError
from cueco_tf.storage import write_atomically

LEARNT, KMEANS = "centroids", "k-means of z"  # what the clusters are
_MOST_IMAGES = 50_000  # a random sample: the similarities to all clusters are held at once
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
    """Writes RUN/clusters.npz for a model without directions of its own; for others does nothing.

    Args:
        folder: `RunFolder`.
        model: the trained method.
        train: split of training images, of which 50,000 are used at most.
        seed: integer: the same seed, images and weights give the same clusters.
    """
    if model.directions() is not None:
        return
    network = inference_network(model)
    network = keras.Model(network.inputs, network.output["projection"])
    z = features(without_xla(network), train.sample(_MOST_IMAGES, seed))
    count = cluster_count(model.num_classes, len(z))
    uniforms = np.random.default_rng(seed).random((count, seeding_trials(count)), np.float32)
    directions, _, _ = spherical_kmeans(ops.convert_to_tensor(z), ops.convert_to_tensor(uniforms))

    def write(path):
        with open(path, "wb") as file:
            np.savez(file, directions=ops.convert_to_numpy(directions))

    write_atomically(folder.clusters, write)


def read_clusters(folder, model):
    """The clusters of a run.

    Args:
        folder: `RunFolder`.
        model: its method, in its newest state.

    Returns:
        `Clusters`, or None where they are k-means of z and training has not ended yet.

    Raises:
        RunError: for a file that is damaged, or of another model.
    """
    own = model.directions()
    if own is not None:
        return Clusters(ops.convert_to_numpy(own), LEARNT, bool(model.directions_trained))
    path = folder.clusters
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            directions = file["directions"]
    except Exception as error:  # zip, npy and pickle errors come in many kinds
        raise RunError(f"{path} cannot be read: {error}") from error
    dim = model.head.output_shape[-1]
    if directions.dtype != np.float32 or directions.ndim != 2 or directions.shape[1] != dim:
        raise RunError(
            f"{path} should hold directions, float32 (L, {dim}). "
            f"Received: {directions.dtype} {directions.shape}"
        )
    return Clusters(directions, KMEANS)
