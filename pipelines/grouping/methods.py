"""Which method sorts the images of `clusters`, and what it cannot give; found out at once."""

import importlib.util

from cueco_tf.clustering import limits
from cueco_tf.embedding.any_table import open_embeddings
from cueco_tf.embedding.parts import holds_parts
from pipelines.command import UsageError


def is_run(source):
    """Whether a source, a path, is a run folder: a folder without parts."""
    return source.is_dir() and not holds_parts(source)


def method_of(options):
    """The method that is asked for or, without one, that suits the number of images.

    Args:
        options: of `pipelines.clusters`.

    Returns:
        `"tree"`, `"head"` or `"kmeans"`.

    Raises:
        ValueError: for embeddings that cannot be read.
        UsageError, NoFaissError: for what k-means cannot give.
    """
    if is_run(options.source):
        if options.method == "kmeans":
            raise UsageError(
                "--method kmeans is for embeddings: embed the images (python -m pipelines.embed) "
                "and give the file in place of the run."
            )
        return options.method or "tree"
    method = options.method
    if method is None:
        method = "kmeans" if open_embeddings(options.source).rows > limits.MANY else "tree"
    if method == "kmeans":
        _check_kmeans(options)
    return method


def _check_kmeans(options):
    if options.copy_to or options.link_to:
        raise UsageError(
            "--copy-to and --link-to are for --method tree and head, and up to "
            f"{limits.MANY:,} images. Read clusters.parquet."
        )
    if not importlib.util.find_spec("pyarrow"):
        raise UsageError("--method kmeans needs pyarrow, for clusters.parquet: pip install pyarrow")
    if options.count != "auto":
        limits.check_clusters(options.count)
