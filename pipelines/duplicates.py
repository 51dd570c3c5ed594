"""Finds near-duplicates, leaks between two sets, and outliers among embedded images."""

import csv
import sys
from pathlib import Path

from cueco_tf.ownership import own
from cueco_tf.process import command, fail, twin
from cueco_tf.storage import new_folder
from pipelines.command import (
    UsageError,
    beside,
    check_folder,
    options_of,
    parser_of,
    reason,
)
from pipelines.results.read_back import Duplicates

_DESCRIPTION = """\
Finds images that are nearly the same as others, and images like no other, by the cosine of their
embeddings. Needs no TensorFlow.

  python -m pipelines.duplicates photos.npz
  python -m pipelines.duplicates train.npz test.npz         also images of the second in the first
  python -m pipelines.duplicates photos.npz --threshold 0.999 --output again
  python -m pipelines.duplicates parts

FILE and OTHER are of python -m pipelines.embed with one encoder, files or folders of parts. DIR
gets index.html, a page to look at; duplicates.csv, a row for each image that has a near-duplicate,
with its group and whether to keep it (the first of each group); leaks.csv, a row for each image of
OTHER that is nearly one of FILE; outliers.csv, the images far from all others, the farthest first.

Up to 20,000 images every pair is compared; beyond, each image with about three thousand near it.
Above 1,000,000 images that needs faiss (pip install cueco-tf[many]), the embeddings lie beside DIR
meanwhile, and each image is compared with about as many as the square root of three times all.
"""

_EPILOG = """\
Exit codes: 0 done, 2 a wrong value, an unusable file or no space, 130 stopped.
"""


def build_parser():
    """The command line."""
    parser = parser_of("duplicates", _DESCRIPTION, _EPILOG)
    parser.add_argument("file", metavar="FILE", type=Path, help="embeddings")
    parser.add_argument(
        "other", metavar="OTHER", type=Path, nargs="?", help="a second set, to find leaks"
    )
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="X",
        help="the cosine above which two images are near-duplicates (default: from the data, a "
        "tenth of the usual distance to the tenth neighbour)",
    )
    parser.add_argument(
        "--output", metavar="DIR", type=Path, help="default: FILE's name with -duplicates"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier DIR")
    return parser


@command
def main(argv=None):
    """Runs the command line and returns the exit code."""
    options = build_parser().parse_args(argv)
    try:
        page = _find(options).page
    except ValueError as error:
        return fail(error)
    except OSError as error:
        return fail(f"{options.output} was not written: {reason(error)}")
    except KeyboardInterrupt:
        return fail(f"stopped; {options.output} is as it was.", 130)
    print(f"Look at {page}")
    return 0


@twin
def duplicates(file, other=None, **options):
    """Finds near-duplicates, leaks and outliers, as the command does.

    Args:
        file: path of a file of embeddings.
        other: that of a second set, to find leaks, or None.
        **options: those of the command by name: `threshold`, `output`, `overwrite`.

    Returns:
        `results.read_back.Duplicates`, which a notebook shows.

    Raises:
        TypeError: for an option that there is not.
        ValueError, OSError: for what the user has to mend.
    """
    return _find(options_of(build_parser(), file=file, other=other, **options))


def _find(options):
    """Makes the folder of duplicates, and returns it."""
    options.output = options.output or beside(options.file, "-duplicates")
    _check_options(options)
    with own(options.output):
        _run(options)
    return Duplicates(options.output)


def _check_options(options):
    """Raises UsageError for values that cannot work, before anything is read."""
    if options.threshold is not None and not -1 <= options.threshold <= 1:
        raise UsageError(f"--threshold should be in [-1, 1]. Received: {options.threshold}")
    check_folder(options.output, options.overwrite, "duplicates", "duplicates.csv")


def _run(options):
    from pipelines.grouping.pairs import write_page

    found = _look(options)
    surplus = sum(len(group) - 1 for group in found.pairs.groups)
    print(
        f"{len(found.pairs.groups):,} groups of near-duplicates, more similar than "
        f"{found.pairs.threshold:.4f}: {surplus:,} of {found.images:,} images are too many"
    )
    if found.leaks is not None:
        print(f"{len(found.leaks):,} images of {options.other} are nearly in {options.file}")
    print(f"{len(found.pairs.odd):,} images are far from all others")
    with new_folder(options.output) as folder:
        _write_tables(folder, found)
        write_page(folder, found)


def _look(options):
    """The `Images` that are asked for."""
    from cueco_tf.clustering import limits
    from cueco_tf.embedding.any_table import open_embeddings
    from pipelines.grouping.images import find_among_few, find_among_many

    sources = [options.file] if options.other is None else [options.file, options.other]
    tables = [open_embeddings(source) for source in sources]
    if sum(table.rows for table in tables) <= limits.MANY:
        return find_among_few(sources, options.threshold)
    return find_among_many(tables, sources, options.output.parent, options.threshold)


def _write_tables(folder, found):
    """Writes the CSV files."""
    paths, pairs = found.collection.paths, found.pairs
    rows, similarities = pairs.rows, pairs.similarities
    own = (
        (number, paths[i], int(place == 0), paths[rows[i, 0]], f"{similarities[i, 0]:.6f}")
        for number, group in enumerate(pairs.groups)
        for place, i in enumerate(group)
    )
    _write(folder / "duplicates.csv", ("group", "path", "keep", "nearest", "similarity"), own)
    odd = (
        (paths[i], f"{similarities[i].mean():.6f}", paths[rows[i, 0]], f"{similarities[i, 0]:.6f}")
        for i in pairs.odd
    )
    columns = ("path", "mean_similarity", "nearest", "similarity")
    _write(folder / "outliers.csv", columns, odd)
    if found.leaks is not None:
        theirs = found.other.paths
        leaks = ((theirs[i], paths[j], f"{similarity:.6f}") for i, j, similarity in found.leaks)
        _write(folder / "leaks.csv", ("path", "nearest", "similarity"), leaks)


def _write(path, columns, rows):
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(main())
