"""What `clusters` writes: a table, a tree, points for other tools, folders."""

import csv
import itertools
import json

import numpy as np

from cueco_tf.clustering.describe import OTHER
from cueco_tf.embedding.embeddings_file import printable

_ROWS = 65_536  # of points.parquet that are written at once


def write_table(path, collection, clusters, leaves):
    """Writes clusters.csv: a row an image, in the order of the source.

    Args:
        path: of the file.
        collection: `Collection`.
        clusters: `Clusters` of its images.
        leaves: `(n,)` integers, the leaf of the tree that each image is in.
    """
    columns = (
        collection.paths,
        clusters.assignments,
        clusters.similarities,
        clusters.ranks,
        clusters.nexts,
        1 - clusters.next_similarities,
        leaves,
    )
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(
            ("path", "cluster", "similarity", "rank", "next_cluster", "next_distance", "leaf")
        )
        for name, own, similarity, rank, other, distance, leaf in zip(*columns, strict=True):
            writer.writerow((name, own, f"{similarity:.6f}", rank, other, f"{distance:.6f}", leaf))


def write_tree(path, collection, grouping, about):
    """Writes clusters.json: what was found, each cluster with its halves, and the tree.

    Args:
        path: of the file.
        collection: `Collection`.
        grouping: `Grouping`.
        about: a dict that goes in first.
    """
    clusters, x = grouping.clusters, collection.embeddings
    described = []
    for c, members in enumerate(clusters.members):
        own = np.flatnonzero(grouping.cut == c)
        halves = (
            np.flatnonzero(np.isin(grouping.leaves, part)) for part in grouping.tree.halves(own)
        )
        described.append(
            {
                "cluster": c,
                **_node(collection, x, members),
                "leaves": own.tolist(),
                "children": [_node(collection, x, part) for part in halves if len(part)],
            }
        )
    content = {**about, "clusters": described, "merges": grouping.tree.merges.tolist()}
    path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def _node(collection, x, members):
    """Size, spread and medoid of the images of a node."""
    if not len(members):  # all of them were set apart
        return {"size": 0, "spread": None, "medoid": None}
    mean = x[members].mean(axis=0, dtype=np.float64)
    length = np.linalg.norm(mean)
    medoid = members[(x[members] @ mean).argmax()]
    return {
        "size": len(members),
        "spread": round(float(2 - 2 * length), 6),
        "medoid": printable(str(collection.paths[medoid])),
    }


def write_points(path, collection, clusters, places, with_embeddings):
    """Writes points.parquet: path, x, y, cluster, similarity and, if asked for, embedding.

    Args:
        path: of the file.
        collection: `Collection`.
        clusters: `Clusters`.
        places: float32 `(n, 2)`.
        with_embeddings: whether to put the embeddings in.
    """
    import pyarrow as pa
    from pyarrow import parquet

    dim = collection.embeddings.shape[1]
    fields = {
        "path": pa.string(),
        "x": pa.float32(),
        "y": pa.float32(),
        "cluster": pa.int32(),
        "similarity": pa.float32(),
    }
    if with_embeddings:
        fields["embedding"] = pa.list_(pa.float32(), dim)
    schema = pa.schema(fields)
    with parquet.ParquetWriter(path, schema) as writer:
        for start in range(0, len(collection), _ROWS):
            rows = slice(start, start + _ROWS)
            columns = [
                pa.array([printable(str(name)) for name in collection.paths[rows]]),
                *(pa.array(np.ascontiguousarray(axis)) for axis in places[rows].T),
                pa.array(clusters.assignments[rows]),
                pa.array(clusters.similarities[rows]),
            ]
            if with_embeddings:
                flat = pa.array(collection.embeddings[rows].reshape(-1))
                columns.append(pa.FixedSizeListArray.from_arrays(flat, dim))
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def folder_rows(collection, clusters):
    """`(number, name, cluster)` of each image, the nearest to its cluster's middle first."""
    groups = [*enumerate(clusters.members), (OTHER, clusters.others)]
    return itertools.chain.from_iterable(
        ((i, str(collection.paths[i]), cluster) for i in members) for cluster, members in groups
    )
