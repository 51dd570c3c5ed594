"""The rule by which clusters that were made of embeddings sort images that come later."""

import dataclasses
import zipfile

import numpy as np

from cueco_tf.evaluation.vectors import normalize
from cueco_tf.storage import write_atomically

RULE = "rule.npz"  # its name in a folder of clusters


class RuleError(ValueError):
    """A file that holds no rule, or a rule of another encoder; the message says why."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """An image with the L2-normalised embedding x is in `clusters[argmax(x @ weights + bias)]`.

    `weights` is float32 `(dim, m)`, `bias` float32 `(m,)`, `clusters` int64 `(m,)` in [0, L),
    `centroids` float32 `(L, dim)`, L2-normalised; `method` says how they were made, `"tree"`,
    `"head"` or `"kmeans"`; `encoder` is the sha256 of the `encoder.keras` whose
    embeddings they are of, as hex, or empty.
    """

    weights: np.ndarray
    bias: np.ndarray
    clusters: np.ndarray
    centroids: np.ndarray
    method: str
    encoder: str = ""

    def __call__(self, x):
        """Sorts images.

        Args:
            x: `(n, dim)` embeddings; rows are L2-normalised here.

        Returns:
            `(clusters, similarities)`: int64 `(n,)`, and float32 `(n,)`, the cosine to the
            cluster's centroid.
        """
        x = normalize(np.asarray(x, np.float32))
        found = self.clusters[(x @ self.weights + self.bias).argmax(axis=1)]
        return found, np.einsum("nd,nd->n", x, self.centroids[found])

    def save(self, path):
        """Writes it as an `.npz`, whole or not at all."""

        def write(temporary):
            with open(temporary, "wb") as file:
                np.savez(file, **dataclasses.asdict(self))

        write_atomically(path, write)


def read_rule(path):
    """Reads what `Rule.save` wrote.

    Raises:
        RuleError: for a file that is not there, or holds no rule.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            values = {field.name: file[field.name] for field in dataclasses.fields(Rule)}
        (dim, m), (count, length) = values["weights"].shape, values["centroids"].shape
        fits = length == dim and values["bias"].shape == values["clusters"].shape == (m,)
        fits = fits and values["clusters"].dtype == np.int64 and len(values["clusters"]) > 0
        fits = fits and 0 <= values["clusters"].min() <= values["clusters"].max() < count
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise RuleError(f"{path} cannot be read as a rule of clusters: {error}") from error
    if not fits:
        raise RuleError(f"{path} holds no rule of clusters: its parts do not fit together.")
    return Rule(**{**values, "method": str(values["method"]), "encoder": str(values["encoder"])})
