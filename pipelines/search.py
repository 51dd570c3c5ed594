"""Finds the images nearest to a query among embedded ones, without TensorFlow."""

import io
import sys
from pathlib import Path

from cueco_tf.export.reading import ExportError, read_export
from cueco_tf.process import command, fail
from pipelines.command import parser_of, reason

_DESCRIPTION = """\
Finds the images nearest to a query image among those of a file of embeddings, by cosine. Prints a
table and draws a contact sheet. Needs no TensorFlow.

  python -m pipelines.search photos.npz PHOTOS/cat.jpg
  python -m pipelines.search photos.npz new.jpg --export exported/photos --top 20 --sheet near.png

FILE is what python -m pipelines.embed wrote. IMAGE is one of its images, by its name there, or any
other image file, which the encoder then embeds first. On the sheet, images of a data set by its
name stay blank, and so do files that are gone.
"""

_EPILOG = "Exit codes: 0 found, 2 a wrong value or an unusable file."

_THUMBNAIL, _CAPTION, _COLUMNS = 128, 32, 5


def build_parser():
    """The command line."""
    parser = parser_of("search", _DESCRIPTION, _EPILOG)
    parser.add_argument("file", metavar="FILE", type=Path, help=".npz or .parquet of embeddings")
    parser.add_argument("image", metavar="IMAGE", help="the query")
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
    from cueco_tf.embedding.embeddings_file import printable, read_file

    sheet = options.sheet or options.file.with_name(f"{options.file.stem}-nearest.png")
    try:
        if options.top < 1:
            raise ValueError(f"--top should be at least 1. Received: {options.top}")
        if sheet.suffix.lower() != ".png":
            raise ValueError(f"--sheet should end in .png. Received: {sheet}")
        if options.sheet and sheet.exists() and not options.overwrite:
            raise ValueError(f"{sheet} exists. Choose another --sheet, or add --overwrite.")
        columns, origin = read_file(options.file)
        query, own = _query(options, columns, origin)
        found = nearest(columns["embeddings"], query, options.top, own)
        rows = [(printable(columns["paths"][i]), i, similarity) for i, similarity in found]
        shown = [(columns["paths"][i], similarity) for _, i, similarity in rows]
        _draw(sheet, options.image, shown, origin.get("reading", {}))
    except (ExportError, ValueError) as error:
        return fail(error)
    except OSError as error:
        return fail(f"{sheet} could not be written: {reason(error)}")
    print(f"{'rank':>4} {'similarity':>10} {'cluster':>7}  path")
    for rank, (path, i, similarity) in enumerate(rows, 1):
        print(f"{rank:4} {similarity:10.4f} {columns['clusters'][i]:7}  {path}")
    print(f"\n{sheet}: the query, then these images")
    return 0


def nearest(embeddings, query, top, own=None):
    """The most similar rows, by cosine.

    Args:
        embeddings: float32 `(n, dim)`.
        query: float32 `(dim,)`.
        top: integer >= 1; all rows when there are fewer.
        own: number of a row to leave out, or None.

    Returns:
        A list of `(number, cosine)`, best first; the first of equals first.
    """
    import numpy as np

    lengths = np.linalg.norm(embeddings, axis=1) * np.linalg.norm(query)
    similarity = embeddings @ query / np.maximum(lengths, 1e-12)
    if own is not None:
        similarity[own] = -np.inf
    order = np.argsort(-similarity, kind="stable")[: min(top, len(similarity) - (own is not None))]
    return [(int(i), float(similarity[i])) for i in order]


def _query(options, columns, origin):
    """The embedding of the query, and its row where it has one."""
    import numpy as np

    from cueco_tf.data import image_files

    (rows,) = np.nonzero(columns["paths"] == options.image)
    if len(rows):
        return columns["embeddings"][rows[0]], int(rows[0])
    if not Path(options.image).is_file():
        raise ValueError(f"{options.image} is no image file, and none of {options.file}.")
    folder = options.export or origin.get("export")
    if folder is None:
        raise ValueError(f"{options.file} does not name its encoder: give it with --export.")
    export = read_export(folder)
    if export.sha256 != origin.get("sha256", export.sha256):
        raise ValueError(
            f"{folder} is another encoder than that of {options.file}: their embeddings cannot be "
            f"compared. Name the right one with --export."
        )
    try:
        reading = image_files.Reading(**origin.get("reading", export.reading))
        image = image_files.central_crop(options.image, export.image_size, export.crop, reading)
    except Exception as error:  # a damaged file can make a decoder raise anything
        reason = image_files.reason(error)
        raise ValueError(f"{options.image} cannot be read: {reason}") from error
    return export.encoder()(image[None]).embeddings[0], None


def _draw(path, query, found, reading):
    """Draws the query and the images found, with their similarities, as one PNG."""
    from PIL import Image, ImageDraw

    from cueco_tf.storage import write_atomically

    cells = [(query, "query"), *((name, f"{similarity:.4f}") for name, similarity in found)]
    count = min(_COLUMNS, len(cells))
    height = _THUMBNAIL + _CAPTION
    sheet = Image.new("RGB", (count * _THUMBNAIL, -(-len(cells) // count) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (name, caption) in enumerate(cells):
        left, top = number % count * _THUMBNAIL, number // count * height
        thumbnail = _thumbnail(name, reading)
        if thumbnail is not None:
            sheet.paste(thumbnail, (left, top))
        short = Path(name).name[-20:].encode("latin-1", "replace").decode("latin-1")
        draw.text((left + 4, top + _THUMBNAIL + 2), f"{caption}\n{short}", "black")
    content = io.BytesIO()
    sheet.save(content, "PNG")
    write_atomically(path, lambda temporary: temporary.write_bytes(content.getvalue()))


def _thumbnail(name, reading):
    """A square picture of an image file or of a row of an .npy array; None when neither is there
    any more."""
    import numpy as np
    from PIL import Image

    from cueco_tf.data import image_files

    array, _, row = name.rpartition("#")
    try:
        if array.endswith(".npy") and not Path(name).exists():
            image = Image.fromarray(np.load(array, mmap_mode="r")[int(row)])
            return image.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.NEAREST)
        reading = image_files.Reading(**reading)
        return Image.fromarray(image_files.central_crop(name, _THUMBNAIL, 1.0, reading))
    except Exception:  # a damaged file can make a decoder raise anything
        return None


if __name__ == "__main__":
    sys.exit(main())
