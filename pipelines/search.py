"""Finds the images nearest to a query among embedded ones, without TensorFlow."""

import sys
from pathlib import Path

from cueco_tf.export.reading import ExportError, read_export
from cueco_tf.process import command, fail, twin
from pipelines.command import UsageError, beside, options_of, parser_of, reason
from pipelines.grouping.sorted_rows import clusters_of

_DESCRIPTION = """\
Finds the images nearest to an image, a row or a cluster among those of a file of embeddings, by
cosine. Prints a table and draws a contact sheet with their names. Needs no TensorFlow.

  python -m pipelines.search photos.npz PHOTOS/cat.jpg
  python -m pipelines.search photos.npz new.jpg --export exported/photos --top 20 --sheet near.png
  python -m pipelines.search photos.npz --row 17
  python -m pipelines.search photos.npz --cluster 3 --clusters photos-clusters
  python -m pipelines.search parts --row 17

FILE is what python -m pipelines.embed wrote, also a folder of parts; it is read block by block, so
that memory does not grow with it. IMAGE is one of its images, by its name there, or any
other image file, which the encoder then embeds first. On the sheet, images of a data set by its
name stay blank, and so do files that are gone.
"""

_EPILOG = "Exit codes: 0 found, 2 a wrong value or an unusable file."

_SIDE = 160  # of an image on the sheet


def build_parser():
    """The command line."""
    parser = parser_of("search", _DESCRIPTION, _EPILOG)
    parser.add_argument("file", metavar="FILE", type=Path, help="embeddings")
    query = parser.add_mutually_exclusive_group(required=True)
    query.add_argument("image", metavar="IMAGE", nargs="?", help="the query: an image, or")
    query.add_argument("--row", type=int, metavar="N", help="the image in this row, from 0, or")
    query.add_argument("--cluster", type=int, metavar="K", help="the middle of a cluster")
    parser.add_argument(
        "--clusters",
        metavar="DIR",
        type=Path,
        help="of python -m pipelines.clusters FILE, whose clusters count in place of the "
        "encoder's own",
    )
    parser.add_argument(
        "--top", type=int, default=10, metavar="N", help="images to find (default: 10)"
    )
    parser.add_argument(
        "--export", metavar="DIR", help="the encoder of FILE (default: where it was at that time)"
    )
    parser.add_argument(
        "--sheet",
        metavar="PNG",
        type=Path,
        help="default: FILE's name with -nearest.png, which each search replaces",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a PNG named with --sheet as well"
    )
    return parser


@command
def main(argv=None):
    """Runs the command line and returns the exit code."""
    options = build_parser().parse_args(argv)
    try:
        found = _search(options)
    except (ExportError, ValueError) as error:
        return fail(error)
    except OSError as error:
        return fail(f"{_sheet_of(options)} could not be written: {reason(error)}")
    _tell(found)
    return 0


@twin
def search(file, image=None, **options):
    """Finds the images nearest to an image, a row or a cluster, as the command does.

    Args:
        file: path of a file of embeddings.
        image: the query, a name in the file or the path of an image, or None with `row=` or
            `cluster=`.
        **options: those of the command by name, such as `top`, `clusters` or `sheet`.

    Returns:
        `results.read_back.Nearest`, which a notebook shows.

    Raises:
        TypeError: for an option that there is not.
        ValueError, OSError: for what the user has to mend.
    """
    image = None if image is None else str(image)
    return _search(options_of(build_parser(), file=file, image=image, **options))


def _sheet_of(options):
    return options.sheet or beside(options.file, "-nearest.png")


def _search(options):
    """Draws the sheet, and returns what was found."""
    from cueco_tf.clustering.search import nearest_rows, values_of
    from cueco_tf.embedding.any_table import open_embeddings
    from pipelines.results.read_back import Match, Nearest

    sheet = _sheet_of(options)
    _check_options(options, sheet)
    table = open_embeddings(options.file)
    clusters = options.clusters and clusters_of(options.clusters, table)
    title, query, own = _query(options, table, clusters)
    found = nearest_rows(table, query, options.top, own)
    if not found:
        raise UsageError(f"{options.file} holds no image but the query.")
    rows = [each.row for each in found]
    paths = values_of(table, "paths", rows if own is None else [own, *rows])
    if clusters is None:
        clusters = values_of(table, "clusters", rows)
    matches = [
        Match(each.row, str(paths[each.row]), each.similarity, int(clusters[each.row]))
        for each in found
    ]
    names = [match.path for match in matches]
    if options.cluster is None:
        names.insert(0, options.image if own is None else paths[own])
    _draw(sheet, names, title, _texts(matches), table.origin.get("reading", {}))
    return Nearest(matches, sheet, title, sheet.read_bytes())


def _texts(matches):
    from pipelines.reporting.names import digits_that_differ

    return digits_that_differ([match.similarity for match in matches], least=4)


def _tell(found):
    """Prints the table."""
    from cueco_tf.embedding.embeddings_file import printable

    print(f"{'rank':>4} {'similarity':>10} {'cluster':>7}  path")
    for rank, (match, text) in enumerate(zip(found, _texts(found.matches), strict=True), 1):
        print(f"{rank:4} {text:>10} {match.cluster:7}  {printable(match.path)}")
    print(f"\nLook at {found.sheet}: {found.title}, then these images")


def _check_options(options, sheet):
    """Raises UsageError for values that cannot work, before anything is read."""
    if options.top < 1:
        raise UsageError(f"--top should be at least 1. Received: {options.top}")
    if sheet.suffix.lower() != ".png":
        raise UsageError(f"--sheet should end in .png. Received: {sheet}")
    if options.sheet and sheet.exists() and not options.overwrite:
        raise UsageError(f"{sheet} exists. Choose another --sheet, or add --overwrite.")


def _query(options, table, clusters):
    """What is looked for, its embedding, and its row where it has one."""
    from cueco_tf.clustering.search import find_path, middle_of, row_of

    if options.cluster is not None:
        middle = middle_of(table, options.cluster, clusters)
        return f"the middle of cluster {options.cluster}", middle, None
    if options.row is not None:
        if not 0 <= options.row < table.rows:
            raise UsageError(f"--row should be in [0, {table.rows - 1}]. Received: {options.row}")
        return f"row {options.row}", row_of(table, options.row), options.row
    row = find_path(table, options.image)
    if row is not None:
        return "the query", row_of(table, row), row
    return "the query", _embed(options, table.origin), None


def _embed(options, origin):
    """The embedding of an image that is none of the file's."""
    from cueco_tf.data import image_files
    from cueco_tf.data.reading import Reading

    if not Path(options.image).is_file():
        raise ValueError(f"{options.image} is no image file, and none of {options.file}.")
    folder = options.export or origin.get("export")
    if folder is None:
        raise ValueError(f"{options.file} does not name its encoder: give it with --export.")
    if not options.export and not Path(folder).is_dir():
        raise ValueError(
            f"{folder}, the encoder of {options.file}, is no longer there: name it with --export."
        )
    export = read_export(folder)
    if export.sha256 != origin.get("sha256", export.sha256):
        raise ValueError(
            f"{folder} is another encoder than that of {options.file}: their embeddings cannot be "
            f"compared. Name the right one with --export."
        )
    try:
        reading = Reading(**origin.get("reading", export.reading))
        image = image_files.central_crop(options.image, export.image_size, export.crop, reading)
    except Exception as error:  # a damaged file can make a decoder raise anything
        reason = image_files.reason(error)
        raise ValueError(f"{options.image} cannot be read: {reason}") from error
    return export.encoder()(image[None]).embeddings[0]


def _draw(path, names, title, texts, reading):
    """Draws images with their names and similarities, before them the query where it is one."""
    from cueco_tf.embedding.embeddings_file import printable
    from pipelines.grouping.contact_sheet import draw
    from pipelines.reporting.names import shorten
    from pipelines.reporting.thumbnails import NamedPictures

    _, shorts = shorten(names[-len(texts) :])
    framed = len(names) > len(texts)
    if framed:
        shorts, texts = [printable(Path(names[0]).name), *shorts], [title, *texts]
    pictures = NamedPictures(names, reading)
    cells = enumerate(zip(texts, shorts, strict=True))
    draw(path, [(pictures.square(i, _SIDE), "\n".join(text)) for i, text in cells], framed)


if __name__ == "__main__":
    sys.exit(main())
