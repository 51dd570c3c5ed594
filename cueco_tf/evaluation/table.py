"""The scores of a run: their names, and the table that shows them."""

from cueco_tf.settings.methods import class_of

SCORES = {
    "knn_top1": "k-NN top-1, k = 20",
    "knn200_top1": "k-NN top-1, k = 200",
    "linear_top1": "linear top-1",
    "online_top1": "online probe top-1",
    "nmi": "NMI",
    "acc": "ACC",
    "ari": "ARI",
    "z_nmi": "NMI of z",
    "z_acc": "ACC of z",
    "z_ari": "ARI of z",
    "centroid_nmi": "NMI, own centroids",
    "centroid_acc": "ACC, own centroids",
    "centroid_ari": "ARI, own centroids",
}
BASELINES = {"start_": "as it began", "random_": "random encoder", "raw_": "raw pixels"}


def method_of(config):
    """The title of a run's method, and where it was published."""
    kind = class_of(config.method)
    return kind.title, kind.reference


def shown_scores(scores):
    """The names and titles of the scores to show.

    Those of a run's own centroids are compared with the others only where there are as many
    centroids as classes, which their titles then say: with more, ACC can be no better than the
    share that so many small clusters cover.

    Args:
        scores: as in `score_table`, with `num_clusters` (of a summary, `clusters`) and
            `num_classes`.
    """
    count = scores.get("num_clusters", scores.get("clusters"))
    as_many = count is not None and count == scores.get("num_classes")
    return {
        name: title.replace("own", f"own {count}")
        for name, title in SCORES.items()
        if as_many or not name.startswith("centroid_")
    }


def score_table(scores):
    """Scores as a table in text: a column for the run, and one for each baseline that is there.

    Args:
        scores: a dict of fractions by the names of `SCORES`; those of a baseline carry its prefix
            (`BASELINES`). What is missing or None is shown as a dash. `method` names what was
            scored, `num_clusters` (of a summary, `clusters`) how many own centroids there are,
            `num_classes` how many classes.

    Returns:
        The table's lines, joined.
    """
    if scores.get("knn_top1") is None:
        labelled = scores.get("num_classes") is not None
        return f"No scores: {'too few images' if labelled else 'the images have no labels'}."
    columns = {"": scores.get("method", "features"), **BASELINES}
    columns = {prefix: title for prefix, title in columns.items() if f"{prefix}knn_top1" in scores}
    split = "held-out images, %" if scores.get("holdout") else "test split, %"
    lines = [f"{split:22}" + "".join(f"{title:>16}" for title in columns.values())]
    for name, title in shown_scores(scores).items():
        values = [scores.get(prefix + name) for prefix in columns]
        if any(value is not None for value in values):
            cells = (f"{'-' if v is None else format(100 * v, '.1f'):>16}" for v in values)
            lines.append(f"{title:22}" + "".join(cells))
    lines.append(
        "NMI, ACC, ARI: k-means, k = number of classes, the mean of ten; of the features or of z."
    )
    return "\n".join(lines)
