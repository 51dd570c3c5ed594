"""Turns images into embeddings with an exported encoder, without TensorFlow."""

import shlex
import sys

from cueco_tf.export.reading import ExportError, read_export
from cueco_tf.ownership import InUseError
from cueco_tf.process import command, fail, suggest, twin
from pipelines.command import UsageError, options_of, reason
from pipelines.embedding.options import build_parser, check_options
from pipelines.results.read_back import Embeddings


@command
def main(argv=None):
    """Runs the command line and returns the exit code."""
    options = build_parser().parse_args(argv)
    from cueco_tf.embedding.part_file import PartError
    from cueco_tf.embedding.sources import SourceError
    from cueco_tf.embedding.tables import TableError

    try:
        done = _embed(options)
    except (UsageError, ExportError, SourceError, InUseError, TableError) as error:
        return fail(error)
    except PartError as error:
        return fail(f"{options.output} was not written: {error}. Embed again, from the beginning.")
    except OSError as error:
        return fail(f"{options.output} was not written: {reason(error)}")
    except KeyboardInterrupt:
        goes_on = "" if options.merge else " The same command goes on from the last finished block."
        return fail(f"stopped.{goes_on}", 130)
    return _tell(options, done)


@twin
def embed(export=None, source=None, **options):
    """Embeds images with an exported encoder, as the command does.

    Args:
        export: path of an export's folder.
        source: path of a folder, a list or an `.npy` array, or the name of a data set.
        **options: those of the command by name, such as `output`, `copy_to`, `shard` or `update`;
            with `merge`, neither `export` nor `source` is given.

    Returns:
        `results.read_back.Embeddings`; of a shard, the path of its part.

    Raises:
        TypeError: for an option that there is not.
        ValueError, PartError, InUseError, OSError: for what the user has to mend. What was embedded
            is kept: the same call goes on.
    """
    options = options_of(build_parser(), export=export, source=source, **options)
    _embed(options)
    if options.shard is not None:
        return options.shard.path(options.output)
    return Embeddings(options.output)


def _embed(options):
    """Embeds a source or a shard of it, or joins parts; returns `Embedded`, or None where the part
    was there."""
    from cueco_tf.embedding import work
    from cueco_tf.embedding.sources import open_source

    check_options(options)
    if options.merge:
        return work.merge(options.merge, options.output)
    export = read_export(options.export)
    reading = _reading(options, export)
    encoder = export.encoder()
    where = options.data_dir, options.split
    source = open_source(options.source, export.image_size, export.crop, *where, reading)
    _introduce(source)
    job = export, encoder, source, options.output
    how = {name: getattr(options, name) for name in ("threads", "update", "by_hash")}
    if options.shard is None:
        return work.embed(*job, copy_to=options.copy_to, **how)
    return work.embed_shard(*job, options.shard, overwrite=options.overwrite, **how)


def _tell(options, done):
    """Says what was written; returns the exit code."""
    from cueco_tf.embedding.work import side_file

    news = f", {done.unchanged:,} of them unchanged" if done and options.update else ""
    if options.shard is not None:
        path = options.shard.path(options.output)
        if done is None:
            print(f"{path} is there already")
        else:
            print(f"{path}: {done.rows:,} embeddings{news}; {done.skipped:,} images skipped")
        parts = shlex.quote(str(options.output))
        suggest(
            f"python -m pipelines.embed --merge {parts} --output FILE.npz, with all parts there"
        )
        return 0
    news += f"; {done.gone:,} gone" if news else ""
    print(f"{options.output}: {done.rows:,} embeddings{news}")
    suggest(f"python -m pipelines.clusters {shlex.quote(str(options.output))}")
    if not done.skipped:
        return 0
    total, listed = done.rows + done.skipped, side_file(options.output)
    print(f"Skipped {done.skipped:,} of {total:,} images: see {listed}", file=sys.stderr)
    return 3


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


if __name__ == "__main__":
    sys.exit(main())
