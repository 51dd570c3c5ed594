"""The clusters of each image, from a folder of clusters."""

import csv
import itertools

from pipelines.command import UsageError, reason

PARQUET, CSV = "clusters.parquet", "clusters.csv"


def clusters_of(folder, table):
    """Reads which cluster each image of a table is in.

    Args:
        folder: path of the folder of clusters.
        table: see `cueco_tf.embedding.tables`.

    Returns:
        int32 `(n,)`.

    Raises:
        UsageError: for a folder without them, or with those of other images.
    """
    import numpy as np

    from cueco_tf.embedding.embeddings_file import printable

    whole = (folder / PARQUET).is_file()
    rows = _of_parquet(folder / PARQUET) if whole else _of_csv(folder / CSV)
    paths = itertools.chain.from_iterable(block["paths"] for block in table.blocks(["paths"]))
    if whole:
        paths = map(printable, paths)
    clusters, same = np.full(table.rows, -1, np.int32), True
    try:
        pairs = itertools.zip_longest(rows, paths, fillvalue=(None, None))
        for i, ((path, cluster), name) in enumerate(pairs):
            same = path == name
            if not same:
                break
            clusters[i] = cluster
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise UsageError(
            f"{folder} holds no {CSV} or {PARQUET} of python -m pipelines.clusters "
            f"({reason(error)})."
        ) from error
    if not same:
        raise UsageError(f"The clusters in {folder} are of other images than the embeddings.")
    return clusters


def _of_csv(path):
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        yield from ((row["path"], int(row["cluster"])) for row in csv.DictReader(file))


def _of_parquet(path):
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=["path", "cluster"]):
            yield from zip(
                batch.column(0).to_pylist(), batch.column(1).to_numpy().tolist(), strict=True
            )
