"""Turns images into embeddings with an exported encoder, without TensorFlow."""

import sys
import time

from cueco_tf.export.devices import DeviceError
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
    from cueco_tf.embedding.ray_engine import RayError
    from cueco_tf.embedding.sources import SourceError
    from cueco_tf.embedding.tables import TableError

    try:
        check_options(options)
        return _merge(options) if options.merge else _embed(options)
    except (
        UsageError,
        ExportError,
        DeviceError,
        SourceError,
        InUseError,
        TableError,
        RayError,
    ) as error:
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
    from cueco_tf.embedding.pace import Pace
    from cueco_tf.embedding.sources import open_source

    export = read_export(options.export)
    reading = _reading(options, export)
    encoder = export.encoder("cpu" if options.engine else options.device)
    where = options.data_dir, options.split
    source = open_source(options.source, export.image_size, export.crop, *where, reading)
    _introduce(source)
    if options.engine:
        return _embed_by_ray(options, export, source)
    job = export, encoder, source, options.output
    how = {name: getattr(options, name) for name in ("update", "by_hash")}
    how["threads"] = options.threads or encoder.threads
    pace = Pace(encoder)
    if options.shard is None:
        done = work.embed(*job, copy_to=options.copy_to, pace=pace, **how)
        news = f", {done.unchanged:,} of them unchanged; {done.gone:,} gone"
        code = _tell(options.output, done, news if options.update else "")
        _tell_pace(pace)
        return code
    path = options.shard.path(options.output)
    done = work.embed_shard(*job, options.shard, overwrite=options.overwrite, pace=pace, **how)
    if done is None:
        print(f"{path} is there already")
    else:
        news = f", {done.unchanged:,} of them unchanged" if options.update else ""
        print(f"{path}: {done.rows:,} embeddings{news}; {done.skipped:,} images skipped")
        _tell_pace(pace)
    return 0


def _embed_by_ray(options, export, source):
    """Embeds all shards of a source; returns the exit code."""
    from cueco_tf.embedding import ray_engine

    shards = options.shards or ray_engine.default_shards(len(source))
    how = {name: getattr(options, name) for name in ("overwrite", "update", "by_hash")}
    job = export, source, options.output, shards, options.threads, options.device
    with ray_engine.cluster():
        print(f"Ray: {ray_engine.workers_for(shards, options.threads, options.device)}")
        start = time.monotonic()
        made = [done for _, done in ray_engine.embed_shards(*job, **how) if done]
        seconds = time.monotonic() - start
    rows, skipped = (sum(each) for each in zip((0, 0), *(done[:2] for done in made), strict=True))
    print(
        f"{options.output}: {shards:,} parts, {shards - len(made):,} of them there already; "
        f"{rows:,} embeddings in {seconds:,.0f} s; {skipped:,} images skipped"
    )
    print(f"Join them: python -m pipelines.embed --merge {options.output} --output FILE")
    return 0


def _merge(options):
    """Joins parts; returns the exit code."""
    from cueco_tf.embedding.work import merge

    return _tell(options.output, merge(options.merge, options.output))


def _tell_pace(pace):
    """Says how fast it went, and what bounds it."""
    if pace.images:
        print(pace)


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
