"""The model card of an export: its manifest in words, as the folder's README.md."""

from cueco_tf.evaluation.table import SCORES
from cueco_tf.export.manifest import HEAD, TREE
from cueco_tf.settings.encoders import NO_WEIGHTS, in_words

_CARD = """\
# {name}

An encoder trained by {method} ({network}): it turns images into embeddings and into
one of {clusters} clusters. Trained without labels on `{dataset}`, {train_images} images of
{size} x {size} pixels, for {epochs} epochs. Precision of `encoder.onnx`: {precision}.

| file | what it is |
|---|---|
| `encoder.onnx` | the encoder for ONNX Runtime, opset {opset} |
| `encoder.keras` | the same for Keras; plain `keras.models.load_model` opens it |
| `saved_model/` | the same for TensorFlow |
| `manifest.json` | settings, versions, scores, checks, and the sha256 of every file |

## Input and outputs

| name | type | what it is |
|---|---|---|
| `images` | {kind} | {colours}pixels 0 to 255; any n. Scaling is inside |
| `embedding` | float32 (n, {dim}) | the features h |
| `cluster` | int64 (n,) | {centroids}, 0 to {last_cluster} |
| `cluster_similarity` | float32 (n,) | the cosine to its centroid, -1 to 1 |

Image files are turned upright, then the central square, {crop:.1%} of the shorter side, is
resized to {size} x {size} (bilinear), as in the run's own evaluation.{pixel_range}
{warnings}
## Use

    python -m pipelines.embed {name} IMAGES --output embeddings.npz

or without this project:

    import onnxruntime
    session = onnxruntime.InferenceSession("encoder.onnx")
    embedding, cluster = session.run(["embedding", "cluster"], {{"images": images}})

## Scores

{scores}

## Checks at export

On {parity_images} real images, {stage}against the trained network in Keras:

| file | largest relative difference | images in another cluster (of these ties) |
|---|---|---|
{parity}
{price}
## Limits

The encoder knows what its training images taught it; on images of another kind measure before
you rely on it. Clusters are numbers without a meaning of their own: look at some images of each.
Method: {method}, {reference}.
"""

_CENTROIDS = {
    "centroids": "the nearest of the trained centroids",
    "k-means of z": "the nearest of the centroids of k-means of the training images' "
    "projections z, made when training ended",
    TREE: "the cluster by a tree of k-means clusters of the training images' embeddings",
    HEAD: "the cluster by a clustering head that was trained on the training images' embeddings",
}

_PRICE = """
What {precision} costs and gives, both measured in turn on the machine of the export:

| | float32 | {precision} |
|---|---|---|
| size of `encoder.onnx`, bytes | {bytes[float32]:,} | {bytes[reduced]:,} |
| images/s | {images_per_second[float32]:,.0f} | {images_per_second[reduced]:,.0f} |
{knn}
Cosine of its embeddings to those in float32: {cosine_mean:.5f} on average, {cosine_least:.5f} at
least; {same_cluster:.1%} of the images stay in their cluster.
"""


def model_card(manifest):
    """The text of README.md for a manifest."""
    config, parity, price = manifest["run"]["config"], manifest["parity"], manifest["price"]
    figures = {name: value for name, value in parity.items() if isinstance(value, dict)}
    rows = (
        f"| `{name}` | {value['embedding_difference']:.1e} | {value['clusters_differing']} "
        f"({value['of_these_ties']}) |"
        for name, value in figures.items()
    )
    return _CARD.format(
        name=manifest["name"],
        network=in_words(config["encoder"], config["width"], config.get("weights", NO_WEIGHTS)),
        dataset=config["dataset"],
        train_images=config["train_images"],
        epochs=config["epochs"],
        precision=manifest["precision"],
        clusters=manifest["clusters"],
        centroids=_CENTROIDS[manifest["clusters_are"]],
        method=manifest["method"],
        reference=manifest["reference"],
        last_cluster=manifest["clusters"] - 1,
        size=manifest["input"]["image_size"],
        kind=f"{manifest['input']['dtype']} ({', '.join(map(str, manifest['input']['shape']))})",
        colours="RGB, " if manifest["input"]["shape"][-1] == 3 else "",
        crop=manifest["input"]["crop"],
        pixel_range=_pixel_range(config.get("pixel_range"), config.get("depth")),
        dim=manifest["embedding_dim"],
        opset=manifest["opset"],
        warnings="".join(f"\n**{text}**\n" for text in manifest["warnings"]),
        scores=_scores(manifest["scores"]["summary"]),
        parity_images=parity["images"],
        stage="" if price is None else "before `encoder.onnx` was reduced, ",
        parity="\n".join(rows),
        price="" if price is None else _price(manifest["precision"], price),
    )


def _pixel_range(told, depth):
    if told is None and depth != 16:
        return ""
    told = told or (0, 0xFFFF)
    low, high = (f"{value:g}" for value in told)
    return (
        f" Pixels of\nthe files go from {low} (black) to {high} (white) and are scaled to 0 to 255."
    )


def _scores(summary):
    if summary.get("knn_top1") is None:
        return "The training images have no labels, so there are no scores."
    images = "held-out training images" if summary.get("holdout") else "its test images"
    head = f"| of the run, on {images} | % |\n|---|---|\n"
    rows = (
        f"| {title} | {100 * summary[name]:.1f} |"
        for name, title in SCORES.items()
        if summary.get(name) is not None
    )
    return head + "\n".join(rows)


def _price(precision, price):
    knn = ""
    if "knn_top1" in price:
        exact, reduced = (100 * price["knn_top1"][name] for name in ("float32", "reduced"))
        knn = f"| k-NN top-1, % (of a sample) | {exact:.2f} | {reduced:.2f} |\n"
    return _PRICE.format(precision=precision, knn=knn, **price)
