"""From embeddings to clusters: how many, which, and who belongs to none."""

import dataclasses

import numpy as np

from cueco_tf.clustering.count import LEAST_IMAGES, Curve, choose_count
from cueco_tf.clustering.describe import Clusters, describe_groups, means, set_apart
from cueco_tf.clustering.head import fit_head
from cueco_tf.clustering.rule import Rule
from cueco_tf.clustering.tree import ClusterTree, default_leaves, grow, merge
from pipelines.command import UsageError


@dataclasses.dataclass(frozen=True)
class Grouping:
    """The clusters of n images.

    `leaves` is `(n,)`, the leaf of `tree` that each image is in; `cut` `(m,)` the cluster of each
    leaf; `curve` is None where the count was given. `wanted` is how many clusters were asked for or
    chosen: a head may leave some of them empty. `rule` sorts images that come later.
    """

    clusters: Clusters
    tree: ClusterTree
    leaves: np.ndarray
    cut: np.ndarray
    curve: Curve | None
    wanted: int
    rule: Rule

    @property
    def method(self):
        """One of `METHODS`, or `"kmeans"`."""
        return self.rule.method

    def sentence(self):
        """How many clusters there are, by which method, and how sure that is, in a line."""
        count = f"{len(self.clusters):,} cluster{'s' if len(self.clusters) != 1 else ''}"
        count += {"head": " by a clustering head", "kmeans": " by k-means"}.get(self.method, "")
        if len(self.clusters) < self.wanted:
            count += f" (of {self.wanted:,}; the others hold no image)"
        if self.curve is None:
            return f"{count}, as asked for" if len(self.clusters) == self.wanted else count
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
            "method": self.method,
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


def check_count(source, images, count):
    """Raises UsageError where there are too few images for so many clusters.

    Args:
        source: what they are from, for the message.
        images: integer, how many there are.
        count: integer >= 1, or `"auto"`.
    """
    if count == "auto" and images < LEAST_IMAGES:
        raise UsageError(
            f"--count auto needs at least {LEAST_IMAGES} images, {source} has {images}. Give a "
            f"number."
        )
    if count != "auto" and count > images:
        raise UsageError(
            f"--count should be at most the number of images, {images:,}. Received: {count:,}"
        )


def group(x, count, seed=0, other=None, method="tree"):
    """Sorts images into clusters.

    Args:
        x: float32 `(n, dim)`, L2-normalised, not all alike.
        count: integer in [1, n], with a head at least 2, or `"auto"`.
        seed: integer, defaults to 0.
        other: what belongs nowhere: None for nothing, `"auto"` or a least similarity (`set_apart`).
        method: one of `METHODS`. Defaults to `"tree"`.

    Returns:
        `Grouping`.

    Raises:
        UsageError: where fewer embeddings differ than a tree is to have clusters.
    """
    curve = None
    if count == "auto":
        print("Choosing the number of clusters ...")
        curve = choose_count(x, seed)
        count = curve.chosen
    tree, leaves, cut, weights, bias = METHODS[method](x, count, seed)
    clusters, former = describe_groups(x, cut[leaves])
    place = np.empty(len(former), np.int64)
    place[former] = np.arange(len(former))
    rule = Rule(weights, bias, place[cut], clusters.centroids, method)
    if other is not None:
        clusters = set_apart(clusters, None if other == "auto" else other)
    return Grouping(clusters, tree, leaves, place[cut], curve, count, rule)


def _by_tree(x, count, seed):
    """A tree, the leaf of each image, the cluster of each leaf, and the weights and bias whose
    largest sum names an image's leaf."""
    # Twice as many leaves as clusters, where that is more than usual, leave something to merge.
    tree = grow(x, seed, min(len(x), max(default_leaves(len(x)), 2 * count)))
    leaves = tree.leaf_of(x)
    held = np.unique(leaves)
    if count > min(len(tree), len(held)):
        raise UsageError(
            f"--count should be at most {len(held):,}, as many as there are different embeddings. "
            f"Received: {count:,}"
        )
    return tree, leaves, tree.cut(count), tree.centres.T, tree.offsets


def _by_head(x, count, seed):
    """The same, where the head's clusters are the leaves."""
    print("Training clustering heads ...")
    head = fit_head(x, count, seed)
    used, leaves = np.unique(head(x)[0], return_inverse=True)
    tree = merge(means(x, leaves, len(used)))
    return tree, leaves, np.arange(len(used)), head.weights[:, used], head.bias[used]


METHODS = {"tree": _by_tree, "head": _by_head}
