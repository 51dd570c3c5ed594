"""From embeddings to clusters: how many, which, and who belongs to none."""

import dataclasses

import numpy as np

from cueco_tf.clustering.count import LEAST_IMAGES, Curve, choose_count
from cueco_tf.clustering.describe import Clusters, describe_groups, set_apart
from cueco_tf.clustering.tree import ClusterTree, default_leaves, grow
from pipelines.command import UsageError


@dataclasses.dataclass(frozen=True)
class Grouping:
    """The clusters of n images.

    `leaves` is `(n,)`, the leaf of `tree` that each image is in; `cut` `(m,)` the cluster of each
    leaf; `curve` is None where the count was given.
    """

    clusters: Clusters
    tree: ClusterTree
    leaves: np.ndarray
    cut: np.ndarray
    curve: Curve | None

    def sentence(self):
        """How many clusters there are and how sure that is, in a line."""
        count = f"{len(self.clusters):,} cluster{'s' if len(self.clusters) != 1 else ''}"
        if self.curve is None:
            return f"{count}, as asked for"
        least, most = self.curve.picks.min(), self.curve.picks.max()
        picks = str(least) if least == most else f"{least} to {most}"
        return (
            f"{count}, {self.curve.verdict()}: six resamples agree on who belongs together to "
            f"{self.curve.agreement():.2f} (1: wholly, 0: by chance), and each alone would choose "
            f"{picks}"
        )

    def about(self):
        """The same for clusters.json."""
        found = {
            "count": len(self.clusters),
            "other": len(self.clusters.others),
            "chosen": "asked" if self.curve is None else "auto",
        }
        if self.curve is not None:
            found["auto"] = {
                "verdict": self.curve.verdict(),
                "agreement": self.curve.agreement(),
                "picks": self.curve.picks.tolist(),
                "counts": self.curve.counts.tolist(),
                "silhouettes": self.curve.silhouettes.tolist(),
                "agreements": self.curve.agreements.tolist(),
            }
        return found


def check_count(collection, count):
    """Raises UsageError where a collection cannot be sorted into so many clusters.

    Args:
        collection: `Collection`.
        count: integer >= 1, or `"auto"`.
    """
    collection.check_varied()
    if count == "auto" and len(collection) < LEAST_IMAGES:
        raise UsageError(
            f"--count auto needs at least {LEAST_IMAGES} images, {collection.source} has "
            f"{len(collection)}. Give a number."
        )
    if count != "auto" and count > len(collection):
        raise UsageError(
            f"--count should be at most the number of images, {len(collection):,}. "
            f"Received: {count:,}"
        )


def group(x, count, seed=0, other=None):
    """Sorts images into clusters.

    Args:
        x: float32 `(n, dim)`, L2-normalised, not all alike.
        count: integer in [1, n], or `"auto"`.
        seed: integer, defaults to 0.
        other: what belongs nowhere: None for nothing, `"auto"` or a least similarity (`set_apart`).

    Returns:
        `Grouping`.

    Raises:
        UsageError: where fewer embeddings differ than there are to be clusters.
    """
    curve = None
    if count == "auto":
        print("Choosing the number of clusters ...")
        curve = choose_count(x, seed)
        count = curve.chosen
    # Twice as many leaves as clusters, where that is more than usual, leave something to merge.
    tree = grow(x, seed, min(len(x), max(default_leaves(len(x)), 2 * count)))
    leaves = tree.leaf_of(x)
    held = np.unique(leaves)
    if count > min(len(tree), len(held)):
        raise UsageError(
            f"--count should be at most {len(held):,}, as many as there are different embeddings. "
            f"Received: {count:,}"
        )
    cut = tree.cut(count)
    clusters, former = describe_groups(x, cut[leaves])
    place = np.empty(len(former), np.int64)
    place[former] = np.arange(len(former))
    if other is not None:
        clusters = set_apart(clusters, None if other == "auto" else other)
    return Grouping(clusters, tree, leaves, place[cut], curve)
