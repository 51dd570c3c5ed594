"""Turns images into embeddings with an exported encoder, without TensorFlow."""

import contextlib
import dataclasses
import errno
import importlib.util
import shutil
import sys
import time
from pathlib import Path

from cueco_tf.export.reading import ExportError, cores, map_in_order, read_export
from cueco_tf.ownership import InUseError, check_free
from cueco_tf.process import command, fail
from pipelines.command import UsageError, add_data_dir, check_parent, parser_of, reason

_DESCRIPTION = """\
Turns images into embeddings and clusters with an exported encoder. Needs ONNX Runtime, NumPy,
Pillow and tqdm, and no TensorFlow.

  python -m pipelines.embed exported/digits PHOTOS --output photos.npz
  python -m pipelines.embed exported/digits list.txt --output photos.parquet
  python -m pipelines.embed exported/digits images.npy --output images.npz
  python -m pipelines.embed exported/digits digits --split train --output digits.npz
  python -m pipelines.embed exported/digits PHOTOS --output photos.npz --copy-to sorted
                                         copies the images into a folder a cluster: look at them

SOURCE is a folder (images at any depth), a text file with a path a line (relative to the current
folder), an .npy array of uint8 images of the encoder's size, or, with TensorFlow installed, the
name of a data set. Image files are turned upright, changed to RGB and cut to their central square.

FILE gets, in the order of the source: paths, embeddings (n, dim) float32, clusters (n,) int64,
similarities (n,) float32 to the cluster's centroid. Images that cannot be read have no row; they
are listed with the reason in FILE.skipped.csv.
"""

_EPILOG = """\
Stopped or killed, the same command goes on from the last block that was finished.
Exit codes: 0 finished, 2 a wrong value, an unusable file or no space, 3 finished, but some images
were skipped, 130 stopped.
"""

_FLUSH_SECONDS = 1.0  # work that a kill may cost


def build_parser():
    """The command line."""
    parser = parser_of("embed", _DESCRIPTION, _EPILOG)
    parser.add_argument("export", metavar="EXPORT", help="folder of python -m pipelines.export")
    parser.add_argument("source", metavar="SOURCE", help="the images: see above")
    parser.add_argument(
        "--output", metavar="FILE", type=Path, required=True, help="FILE.npz or FILE.parquet"
    )
    parser.add_argument(
        "--copy-to",
        metavar="DIR",
        type=Path,
        help="also copy the images into a folder a cluster, below DIR, which must be new",
    )
    parser.add_argument(
        "--threads", type=int, default=cores(), metavar="N", help="default: all cores, %(default)s"
    )
    add_data_dir(parser)
    parser.add_argument(
        "--split", choices=("train", "test"), help="of a data set (default: test, if there is one)"
    )
    parser.add_argument(
        "--pixel-range",
        metavar=("LOW", "HIGH"),
        nargs=2,
        type=float,
        help="pixels that are black and white in the files (default: as in the encoder's training)",
    )
    parser.add_argument(
        "--max-megapixels",
        metavar="X",
        type=float,
        help="larger image files are skipped (default: as in the encoder's training)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE")
    return parser


@command
def main(argv=None):
    """Runs the command line and returns the exit code."""
    options = build_parser().parse_args(argv)
    from cueco_tf.embedding.part_file import PartError, PartFile
    from cueco_tf.embedding.sources import SourceError, open_source

    side_file = options.output.with_name(f"{options.output.name}.skipped.csv")
    part = None
    try:
        _check_options(options)
        export = read_export(options.export)
        reading = _reading(options, export)
        encoder = export.encoder()
        where = options.data_dir, options.split
        source = open_source(options.source, export.image_size, export.crop, *where, reading)
        _introduce(source)
        job = f"{export.sha256} {encoder.batch_size} {source.fingerprint()}"
        _check_space(options.output, source, export.embedding_dim)
        part = PartFile(options.output, export.embedding_dim, job)
        _embed(encoder, source, part, options.threads)
        skipped = _finish(options, side_file, export, source, part)
    except (UsageError, ExportError, SourceError, InUseError) as error:
        return fail(error)
    except PartError as error:
        part.remove()
        return fail(f"{options.output} was not written: {error}. Embed again, from the beginning.")
    except OSError as error:
        if part is not None:
            part.remove()
        return fail(f"{options.output} was not written: {reason(error)}")
    except KeyboardInterrupt:
        return fail("stopped. The same command goes on from the last finished block.", 130)
    finally:
        if part is not None:
            with contextlib.suppress(OSError):
                part.close()
    if skipped:
        print(f"Skipped {skipped:,} of {len(source):,} images: see {side_file}", file=sys.stderr)
    return 3 if skipped else 0


def _check_options(options):
    """Raises UsageError for values that cannot work, before anything is read."""
    from cueco_tf.embedding.embeddings_file import SUFFIXES

    output, folder = options.output, options.copy_to
    if options.threads < 1:
        raise UsageError(f"--threads should be at least 1. Received: {options.threads}")
    if output.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--output should end in .npz or .parquet. Received: {output}")
    if output.suffix.lower() == ".parquet" and not importlib.util.find_spec("pyarrow"):
        raise UsageError("--output FILE.parquet needs pyarrow: pip install pyarrow")
    check_parent("--output", output)
    if output.is_dir() or (output.exists() and not options.overwrite):
        raise UsageError(f"{output} exists. Choose another --output, or add --overwrite.")
    if folder is not None and folder.exists():  # never overwritten: it may hold anything
        raise UsageError(f"{folder} exists. Choose a new folder for --copy-to.")
    if folder is not None:
        check_parent("--copy-to", folder)
    for path in filter(None, (output, folder)):
        check_free(path)


def _reading(options, export):
    """The `Reading` of the export's run, with what is given in its place."""
    from cueco_tf.data.image_files import Reading

    given = {"pixel_range": options.pixel_range, "max_megapixels": options.max_megapixels}
    given = {name: value for name, value in given.items() if value is not None}
    try:
        return Reading(**(export.reading | given))
    except ValueError as error:
        raise UsageError(str(error)) from error


def _introduce(source):
    """Says what is taken from a folder and what is left, and what is odd about the pixels."""
    from cueco_tf.embedding.range_check import range_warnings

    for line in source.scan.lines() if source.scan else ():
        print(line)
    for sentence in range_warnings(source):
        print(f"warning: {sentence}", file=sys.stderr)


def _check_space(output, source, dim):
    """Raises OSError before any work when the disk cannot hold the result and what leads to it."""
    row = 4 * dim + 20
    names = sum(len(source.name(i)) + 1 for i in range(len(source)))
    needed = len(source) * 2 * row + names
    free = shutil.disk_usage(output.parent).free
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"no space: this needs {needed / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free",
        )


def _embed(encoder, source, part, threads):
    """Brings the rows of all images into the part file, from where it stands."""
    from tqdm import tqdm

    if part.done:
        print(f"Going on after {part.done:,} of {len(source):,} images")

    def work(start):
        stop = min(start + encoder.batch_size, len(source))
        images, kept, skipped = source.load(start, stop)
        return stop, kept, encoder(images), skipped

    starts = range(part.done, len(source), encoder.batch_size)
    flushed = time.monotonic()
    with (
        tqdm(
            total=len(source),
            initial=part.done,
            desc="Embedding",
            unit=" images",
            mininterval=0.5 if sys.stderr.isatty() else 10.0,
        ) as bar,
        contextlib.closing(map_in_order(work, starts, threads)) as blocks,
    ):
        for block in blocks:
            bar.update(block[0] - part.done)
            part.append(*block)
            if time.monotonic() - flushed > _FLUSH_SECONDS:
                part.flush()
                flushed = time.monotonic()
    part.flush()


def _finish(options, side_file, export, source, part):
    """Writes the output from the part file; returns how many images were skipped."""
    from cueco_tf.embedding.copies import copies_of_part, embeddings_kept
    from cueco_tf.embedding.embeddings_file import write_file, write_skipped

    part.check(len(source))
    if not part.rows:
        reasons = list(part.skipped())
        part.remove()
        raise ExportError(
            f"Not one of {len(source):,} images could be read. The first: {': '.join(reasons[0])}"
        )
    origin = {"export": options.export, "sha256": export.sha256}
    if source.reading is not None:
        origin["reading"] = dataclasses.asdict(source.reading)
    if source.scan is not None:
        # Without examples: an archive's comment holds 64 KB.
        origin["images"] = {**source.scan.record(), "left": source.scan.left.counts()}
    with copies_of_part(options.copy_to, source, part, export.num_clusters):
        write_file(options.output, part, source.name, origin)
    with embeddings_kept(side_file):
        skipped = write_skipped(side_file, part)
    print(f"{options.output}: {part.rows:,} embeddings of length {export.embedding_dim}")
    part.remove()
    return skipped


if __name__ == "__main__":
    sys.exit(main())
