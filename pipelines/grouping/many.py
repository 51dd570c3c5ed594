"""Clusters of more images than memory holds, as files."""

import dataclasses
import json

import numpy as np

from cueco_tf.clustering.many import Tally, cluster_many
from cueco_tf.clustering.rule import RULE
from cueco_tf.clustering.tree import merge
from cueco_tf.embedding.any_table import open_embeddings
from cueco_tf.embedding.embeddings_file import printable
from cueco_tf.storage import new_folder
from pipelines.grouping import cluster_files as files
from pipelines.grouping.collection import named_collection
from pipelines.grouping.grouping import Grouping, check_count
from pipelines.grouping.overview import write_page
from pipelines.grouping.sorted_rows import PARQUET
from pipelines.reporting import findings, names
from pipelines.reporting.flat_map import place_all

_SHOWN = 20_000  # images on the page
_SHOWN_CLUSTERS = 1_000
_MERGED = 5_000  # clusters whose tree is written: SciPy holds all pairs


def sort_many(options):
    """Sorts all images of a table and writes what the command does.

    Args:
        options: of `pipelines.clusters`, checked.

    Returns:
        The path of the page.

    Raises:
        ValueError: for embeddings that cannot be read or sorted; the message says why.
        OSError: where the disk is full, and the like.
    """
    table = open_embeddings(options.source)
    check_count(options.source, table.rows, options.count)
    found = cluster_many(table, options.count, options.seed, options.other)
    with new_folder(options.output) as folder:
        tally, paths = _write_table(folder / PARQUET, table, found, _shown(found, options.seed))
        _write(folder, options, table, found, tally, paths)
    return options.output / "index.html"


def _shown(found, seed):
    """Places in the sample of the images on the page, ascending."""
    large = np.flatnonzero(found.describe(found.x).assignments < _SHOWN_CLUSTERS)
    return np.sort(np.random.default_rng(seed).permutation(large)[:_SHOWN])


def _write_table(path, table, found, shown):
    """Sorts all images into the file; a `Tally` of them, and the shown ones' places and paths."""
    import pyarrow as pa
    from pyarrow import parquet

    fields = {
        "path": pa.string(),
        "cluster": pa.int32(),
        "similarity": pa.float32(),
        "next_cluster": pa.int32(),
        "next_distance": pa.float32(),
    }
    schema, tally, row = pa.schema(fields), Tally(len(found)), 0
    numbers, paths = found.numbers[shown], []
    with parquet.ParquetWriter(path, schema) as writer:
        for block, clusters in found.sort(table):
            tally.add(block, clusters)
            ends = np.searchsorted(numbers, (row, row + len(block)))
            paths += [block[i - row] for i in numbers[slice(*ends)]]
            row += len(block)
            columns = (
                [printable(name) for name in block],
                clusters.assignments,
                clusters.similarities,
                clusters.nexts,
                1 - clusters.next_similarities,
            )
            arrays = [pa.array(values) for values in columns]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    return tally, (shown, paths)


def _write(folder, options, table, found, tally, chosen):
    """Writes all but the table."""
    shown, paths = chosen
    collection = named_collection(
        options.source, table.origin, np.array(paths, object), found.x[shown]
    )
    clusters = found.describe(collection.embeddings)
    merged = found.rule.centroids[:_MERGED]
    grouping = Grouping(
        clusters=clusters,
        tree=merge(merged),
        leaves=clusters.assignments,
        cut=np.arange(len(merged)),
        curve=found.curve,
        wanted=found.wanted,
        rule=found.rule,
    )
    print(grouping.sentence())
    whole = {
        "format": 1,
        "source": str(options.source),
        "images": table.rows,
        "seed": options.seed,
        **grouping.about(),
        "other": tally.others,
        "sample": len(found.x),
    }
    _write_tree(folder / "clusters.json", grouping, whole, tally)
    dataclasses.replace(found.rule, encoder=table.origin.get("encoder", "")).save(folder / RULE)
    root, shorts = names.shorten(paths)
    print("Finding neighbours, PCA and t-SNE of some ...")
    looks = findings.look(collection.embeddings, shorts, clusters, options.seed)
    places = place_all(collection.embeddings, looks.mapped, looks.xy)
    points = folder / "points.parquet"
    files.write_points(points, collection, clusters, places, options.with_embeddings)
    originals = names.link_to(root, shorts, options.output)
    pages = options.source, grouping, looks, collection.pictures, originals
    write_page(folder, *pages, images=table.rows, other=tally.others)


def _write_tree(path, grouping, about, tally):
    """Writes clusters.json as `cluster_files.write_tree` does; no cluster has children."""
    described = [
        {
            "cluster": c,
            "size": int(size),
            "spread": round(float(spread), 6) if size else None,
            "medoid": printable(medoid) if size else None,
            "leaves": [c],
            "children": [],
        }
        for c, (size, spread, medoid) in enumerate(
            zip(tally.sizes, tally.spreads, tally.medoids, strict=True)
        )
    ]
    whole = len(grouping.cut) == len(described)
    merges = grouping.tree.merges.tolist() if whole else None
    content = {**about, "clusters": described, "merges": merges}
    path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
