"""Images with their embeddings: of a file that `embed` wrote, or of a run's training set."""

import dataclasses
from pathlib import Path

import numpy as np

from cueco_tf.embedding.embeddings_file import read_file
from cueco_tf.embedding.parts import holds_parts
from cueco_tf.evaluation.vectors import normalize
from cueco_tf.storage import sha256
from pipelines.command import UsageError


@dataclasses.dataclass(frozen=True)
class Collection:
    """n images.

    `source` says where they are from, `origin` which encoder made the embeddings; `paths` is `(n,)`
    strings, the images' full names; `embeddings` float32 `(n, dim)`, L2-normalised; `pictures` what
    `thumbnails.read` takes.
    """

    source: str
    origin: dict
    paths: np.ndarray
    embeddings: np.ndarray
    pictures: object

    def __len__(self):
        return len(self.paths)

    def check_varied(self):
        """Raises UsageError where there is nothing to compare: one image, or all alike."""
        if len(self) < 2:
            raise UsageError(f"{self.source} holds one image: there is nothing to compare it with.")
        if np.ptp(self.embeddings, axis=0).max() < 1e-6:
            raise all_alike(self.source, len(self))

    def check_comparable(self, other):
        """Raises UsageError where the embeddings of another collection are of another encoder."""
        same_length = self.embeddings.shape[1] == other.embeddings.shape[1]
        if not same_length or self.origin.get("sha256") != other.origin.get("sha256"):
            raise unlike_encoders(self.source, other.source)


def all_alike(source, count):
    """`UsageError` for images of a source whose embeddings are all the same."""
    return UsageError(
        f"All {count:,} images of {source} have the same embedding: they are alike, or the encoder "
        f"has collapsed."
    )


def unlike_encoders(source, other):
    """`UsageError` for two sources whose embeddings are of different encoders."""
    return UsageError(
        f"{source} and {other} are of different encoders: their embeddings cannot be compared. "
        f"Embed both with the same export."
    )


def open_collection(source, data_dir=None):
    """Reads embeddings, or makes those of a run's training images.

    Args:
        source: path of a file or a folder of parts of `python -m pipelines.embed`, or of a run
            folder, which needs TensorFlow.
        data_dir: where TensorFlow Datasets keeps its sets, or None.

    Returns:
        `Collection`.

    Raises:
        ValueError: for anything else; the message says why. Of a run also what `load_run` and
            `data.load_for` raise.
    """
    path = Path(source)
    if path.is_dir() and not holds_parts(path):
        return _of_run(path, data_dir)
    columns, origin = read_file(path)
    return named_collection(source, origin, columns["paths"], normalize(columns["embeddings"]))


def named_collection(source, origin, paths, embeddings):
    """A `Collection` of images by what a file of embeddings calls them; arguments as there."""
    from pipelines.reporting.thumbnails import NamedPictures

    pictures = NamedPictures(paths, origin.get("reading"))
    return Collection(str(source), origin, paths, embeddings, pictures)


def _of_run(path, data_dir):
    from cueco_tf.data.presence import check_there
    from cueco_tf.process import import_tensorflow
    from cueco_tf.running.run_folder import RunFolder

    folder = RunFolder(path)
    config = folder.read_config()
    folder.check_begun()
    check_there(config.dataset, data_dir)
    tf = import_tensorflow()
    from cueco_tf import data
    from cueco_tf.data.decoding import in_one_line
    from cueco_tf.methods.inference import inference_network
    from cueco_tf.running.loading import load_run
    from pipelines.reporting.examine import embed
    from pipelines.reporting.names import of_split
    from pipelines.reporting.thumbnails import SplitPictures

    run = load_run(path, weights_only=True)
    images = data.load_for(run.config, data_dir)
    try:
        h, _ = embed(inference_network(run.model), images.train, "Embedding")
    except tf.errors.OpError as error:  # an image that is gone, or damaged
        raise UsageError(in_one_line(error)) from error
    paths = np.array(of_split(images.train, images.name, range(len(images.train))))
    origin = {"encoder": sha256(folder.encoder)} if folder.encoder.exists() else {}
    return Collection(str(path), origin, paths, normalize(h), SplitPictures(images.train))
