"""Sorts embedded images into clusters that a person can look at."""

import dataclasses
import importlib.util
import shlex
import sys
from pathlib import Path

from cueco_tf.clustering.rule import RULE
from cueco_tf.ownership import own
from cueco_tf.process import command, fail, suggest, twin
from cueco_tf.running.checkpoints import CheckpointError
from cueco_tf.storage import new_folder
from pipelines.command import add_data_dir, beside, options_of, parser_of, reason
from pipelines.grouping.checks import check_options
from pipelines.grouping.methods import is_run
from pipelines.results.read_back import Clusters

_DESCRIPTION = """\
Sorts images into clusters and writes them as files to open: index.html, a page of the clusters with
their images; clusters.csv, a row an image; clusters.json, the tree of clusters; points.parquet, a
map for Embedding Atlas or Spotlight.

  python -m pipelines.clusters photos.npz                           as many as the images suggest
  python -m pipelines.clusters photos.npz --count 40 --output sorted
  python -m pipelines.clusters photos.npz --count 40 --copy-to folders    also a folder a cluster
  python -m pipelines.clusters photos.npz --count 40 --method head    by who is near whom
  python -m pipelines.clusters parts --count 10000 --output sorted  any number of images
  python -m pipelines.clusters runs/photos --count 40               the training images of a run

SOURCE is a file or a folder of parts of python -m pipelines.embed, for which no TensorFlow is
needed, or a run folder.
Images in small k-means clusters are merged into one tree, so that 10, 40 and 200 clusters are cuts
of the same tree. With --count auto the count is the one at which clusters are set apart well
(silhouette) and resamples of the images agree on them; the page shows the curve. With --method head
a clustering head learns from each image's nearest neighbours, in seconds: better where clusters are
of one size, worse where they are not (docs/clusters.md).

With --method kmeans, the default above 1,000,000 images, spherical k-means of a sample, 256 images
a cluster, finds the clusters, and all images are sorted in one pass that holds some thousand of
them at a time. clusters.parquet, a row an image, is then in the place of clusters.csv; the page and
points.parquet are of 20,000 images. More than 1,000 clusters need faiss: pip install
cueco-tf[many].
"""

_EPILOG = """\
The same source and seed give the same files. Exit codes: 0 done, 2 a wrong value, an unusable file
or no space, 130 stopped.
"""


def build_parser():
    """The command line."""
    parser = parser_of("clusters", _DESCRIPTION, _EPILOG)
    parser.add_argument("source", metavar="SOURCE", type=Path, help="embeddings, or run")
    parser.add_argument(
        "--count", default="auto", metavar="K", help="how many clusters, or auto (default: auto)"
    )
    parser.add_argument(
        "--method",
        choices=("tree", "head", "kmeans"),
        help="a tree of small k-means clusters, a clustering head, or k-means of a sample "
        "(default: tree; above 1,000,000 images kmeans)",
    )
    parser.add_argument(
        "--output", metavar="DIR", type=Path, help="default: SOURCE's name with -clusters"
    )
    parser.add_argument(
        "--other",
        nargs="?",
        const="auto",
        metavar="X",
        help="set images apart that belong nowhere, as cluster -1: those less similar to their "
        "cluster's middle than X or, without X, than is usual in their cluster",
    )
    folders = parser.add_mutually_exclusive_group()
    folders.add_argument(
        "--copy-to", metavar="DIR", type=Path, help="also copy the images into a folder a cluster"
    )
    folders.add_argument(
        "--link-to", metavar="DIR", type=Path, help="the same as symbolic links to the images"
    )
    parser.add_argument(
        "--with-embeddings", action="store_true", help="put the embeddings into points.parquet"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    add_data_dir(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier DIR")
    return parser


@command
def main(argv=None):
    """Runs the command line and returns the exit code."""
    options = build_parser().parse_args(argv)
    try:
        page = _sort(options).page
    except (ValueError, CheckpointError) as error:
        return fail(error)
    except OSError as error:
        return fail(f"{options.output} was not written: {reason(error)}")
    except KeyboardInterrupt:
        return fail(f"stopped; {options.output} is as it was.", 130)
    print(f"Look at {page} ({page.stat().st_size / 1e6:.1f} MB)")
    source, folder = (shlex.quote(str(path)) for path in (options.source, options.output))
    if is_run(options.source):
        suggest(f"python -m pipelines.export {source} --clusters {folder}")
    else:
        suggest(f"python -m pipelines.search {source} --cluster 0 --clusters {folder}")
    return 0


@twin
def clusters(source, **options):
    """Sorts images into clusters, as the command does.

    Args:
        source: path of a file of embeddings, or of a run.
        **options: those of the command by name, such as `count`, `method`, `output` or `copy_to`.

    Returns:
        `results.read_back.Clusters`, which a notebook shows.

    Raises:
        TypeError: for an option that there is not.
        ValueError, CheckpointError, OSError: for what the user has to mend.
    """
    return _sort(options_of(build_parser(), source=source, **options))


def _sort(options):
    """Makes the folder of clusters, and returns it."""
    options.output = options.output or beside(options.source, "-clusters")
    check_options(options)
    with own(options.output):
        _run(options)
    return Clusters(options.output)


def _run(options):
    if options.method == "kmeans":
        from pipelines.grouping.many import sort_many

        return sort_many(options)
    from cueco_tf.embedding.copies import copies
    from pipelines.grouping import cluster_files as files
    from pipelines.grouping.collection import open_collection
    from pipelines.grouping.grouping import check_count, group

    collection = open_collection(options.source, options.data_dir)
    check_count(options.source, len(collection), options.count)
    collection.check_varied()
    folder = options.copy_to or options.link_to
    if folder is not None:
        collection.pictures.check_files()
    settings = options.count, options.seed, options.other, options.method
    grouping = group(collection.embeddings, *settings)
    clusters = grouping.clusters
    print(grouping.sentence())
    rows = files.folder_rows(collection, clusters)
    load = None if folder is None else collection.pictures.original
    with (
        new_folder(options.output) as partial,
        copies(folder, rows, len(collection), len(clusters), load, options.link_to is not None),
    ):
        _write(partial, options, collection, grouping)


def _write(folder, options, collection, grouping):
    """Fills the folder of clusters."""
    from pipelines.grouping import cluster_files as files
    from pipelines.grouping.overview import write_page
    from pipelines.reporting import findings, names
    from pipelines.reporting.flat_map import place_all

    root, shorts = names.shorten(collection.paths)
    print("Finding neighbours, PCA and t-SNE ...")
    looks = findings.look(collection.embeddings, shorts, grouping.clusters, options.seed)
    files.write_table(folder / "clusters.csv", collection, grouping.clusters, grouping.leaves)
    about = {
        "format": 1,
        "source": str(options.source),
        "images": len(collection),
        "seed": options.seed,
        **grouping.about(),
        "effective_rank": looks.effective_rank,
        "silhouette": looks.silhouette,
    }
    files.write_tree(folder / "clusters.json", collection, grouping, about)
    if importlib.util.find_spec("pyarrow"):
        places = place_all(collection.embeddings, looks.mapped, looks.xy)
        points = folder / "points.parquet"
        files.write_points(points, collection, grouping.clusters, places, options.with_embeddings)
    else:
        print("points.parquet is left out: it needs pyarrow (pip install pyarrow)")
    if encoder := collection.origin.get("encoder"):
        dataclasses.replace(grouping.rule, encoder=encoder).save(folder / RULE)
    originals = names.link_to(root, shorts, options.output)
    write_page(folder, options.source, grouping, looks, collection.pictures, originals)


if __name__ == "__main__":
    sys.exit(main())
