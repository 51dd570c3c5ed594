"""Turns images into embeddings with an exported encoder, without TensorFlow."""

import sys

from cueco_tf.export.reading import ExportError, read_export
from cueco_tf.ownership import InUseError
from cueco_tf.process import command, fail
from pipelines.command import UsageError, reason
from pipelines.embedding.options import build_parser, check_options


@command
def main(argv=None):
    """Runs the command line and returns the exit code."""
    options = build_parser().parse_args(argv)
    from cueco_tf.embedding.part_file import PartError
    from cueco_tf.embedding.sources import SourceError
    from cueco_tf.embedding.tables import TableError

    try:
        check_options(options)
        return _merge(options) if options.merge else _embed(options)
    except (UsageError, ExportError, SourceError, InUseError, TableError) as error:
        return fail(error)
    except PartError as error:
        return fail(f"{options.output} was not written: {error}. Embed again, from the beginning.")
    except OSError as error:
        return fail(f"{options.output} was not written: {reason(error)}")
    except KeyboardInterrupt:
        goes_on = "" if options.merge else " The same command goes on from the last finished block."
        return fail(f"stopped.{goes_on}", 130)


def _embed(options):
    """Embeds a source or a shard of it; returns the exit code."""
    from cueco_tf.embedding import work
    from cueco_tf.embedding.sources import open_source

    export = read_export(options.export)
    reading = _reading(options, export)
    encoder = export.encoder()
    where = options.data_dir, options.split
    source = open_source(options.source, export.image_size, export.crop, *where, reading)
    _introduce(source)
    job = export, encoder, source, options.output
    how = {name: getattr(options, name) for name in ("threads", "update", "by_hash")}
    if options.shard is None:
        done = work.embed(*job, copy_to=options.copy_to, **how)
        news = f", {done.unchanged:,} of them unchanged; {done.gone:,} gone"
        return _tell(options.output, done, news if options.update else "")
    path = options.shard.path(options.output)
    done = work.embed_shard(*job, options.shard, overwrite=options.overwrite, **how)
    if done is None:
        print(f"{path} is there already")
    else:
        news = f", {done.unchanged:,} of them unchanged" if options.update else ""
        print(f"{path}: {done.rows:,} embeddings{news}; {done.skipped:,} images skipped")
    return 0


def _merge(options):
    """Joins parts; returns the exit code."""
    from cueco_tf.embedding.work import merge

    return _tell(options.output, merge(options.merge, options.output))


def _tell(output, done, news=""):
    """Says what was written; returns the exit code."""
    from cueco_tf.embedding.work import side_file

    print(f"{output}: {done.rows:,} embeddings{news}")
    if not done.skipped:
        return 0
    total = done.rows + done.skipped
    print(f"Skipped {done.skipped:,} of {total:,} images: see {side_file(output)}", file=sys.stderr)
    return 3


def _reading(options, export):
    """The `Reading` of the export's run, with what is given in its place."""
    from cueco_tf.data.reading import Reading

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
