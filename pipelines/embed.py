"""Turns images into embeddings with an exported encoder, without TensorFlow."""

import shlex
import sys
import time

from cueco_tf.export.devices import DeviceError
from cueco_tf.export.reading import ExportError, read_export
from cueco_tf.ownership import InUseError
from cueco_tf.process import command, fail, suggest, twin
from pipelines.command import UsageError, options_of, reason
from pipelines.embedding.checks import check_options
from pipelines.embedding.options import build_parser
from pipelines.results.read_back import Embeddings


@command
def main(argv=None):
    """Runs the command line and returns the exit code."""
    options = build_parser().parse_args(argv)
    from cueco_tf.embedding.part_file import PartError
    from cueco_tf.embedding.ray_engine import RayError
    from cueco_tf.embedding.sources import SourceError
    from cueco_tf.embedding.tables import TableError

    try:
        done, pace = _embed(options)
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
    return _tell(options, done, pace)


@twin
def embed(export=None, source=None, **options):
    """Embeds images with an exported encoder, as the command does.

    Args:
        export: path of an export's folder.
        source: path of a folder, a list or an `.npy` array, or the name of a data set.
        **options: those of the command by name, such as `output`, `copy_to`, `shard` or `update`;
            with `merge`, neither `export` nor `source` is given.

    Returns:
        `results.read_back.Embeddings`; of a shard, the path of its part, and of `engine`, that of
        the folder of parts.

    Raises:
        TypeError: for an option that there is not.
        ValueError, PartError, InUseError, OSError: for what the user has to mend. What was embedded
            is kept: the same call goes on.
    """
    options = options_of(build_parser(), export=export, source=source, **options)
    _embed(options)
    if options.shard is not None:
        return options.shard.path(options.output)
    if options.engine:
        return options.output
    return Embeddings(options.output)


def _embed(options):
    """Embeds a source or shards of it, or joins parts; returns `Embedded`, or None where the part
    was there, and a `Pace`, or None where none was kept."""
    from cueco_tf.embedding import work
    from cueco_tf.embedding.pace import Pace
    from cueco_tf.embedding.sources import open_source

    check_options(options)
    if options.merge:
        return work.merge(options.merge, options.output), None
    export = read_export(options.export)
    reading = _reading(options, export)
    encoder = export.encoder("cpu" if options.engine else options.device)
    where = options.data_dir, options.split
    source = open_source(options.source, export.image_size, export.crop, *where, reading)
    _introduce(source)
    if options.engine:
        return _embed_by_ray(options, export, source), None
    job = export, encoder, source, options.output
    how = {name: getattr(options, name) for name in ("update", "by_hash")}
    how["threads"] = options.threads or encoder.threads
    pace = Pace(encoder)
    if options.shard is None:
        return work.embed(*job, copy_to=options.copy_to, pace=pace, **how), pace
    how["overwrite"] = options.overwrite
    return work.embed_shard(*job, options.shard, pace=pace, **how), pace


def _embed_by_ray(options, export, source):
    """Embeds all shards of a source; returns an `Embedded` of those that were not there."""
    from cueco_tf.embedding import ray_engine
    from cueco_tf.embedding.work import Embedded

    shards = options.shards or ray_engine.default_shards(len(source))
    how = {name: getattr(options, name) for name in ("overwrite", "update", "by_hash")}
    job = export, source, options.output, shards, options.threads, options.device
    with ray_engine.cluster():
        print(f"Ray: {ray_engine.workers_for(shards, options.threads, options.device)}")
        start = time.monotonic()
        made = [done for _, done in ray_engine.embed_shards(*job, **how) if done]
        seconds = time.monotonic() - start
    done = Embedded(*(sum(each) for each in zip((0,) * 4, *made, strict=True)))
    print(f"{shards:,} parts in {seconds:,.0f} s, {shards - len(made):,} of them there already")
    return done


def _tell(options, done, pace):
    """Says what was written; returns the exit code."""
    from cueco_tf.embedding.work import side_file

    news = f", {done.unchanged:,} of them unchanged" if done and options.update else ""
    in_parts = options.shard is not None or options.engine
    if in_parts:
        _tell_of_parts(options, done, news)
    else:
        news += f"; {done.gone:,} gone" if news else ""
        print(f"{options.output}: {done.rows:,} embeddings{news}")
    if pace is not None and pace.images:
        print(pace)
    output = shlex.quote(str(options.output))
    if in_parts:
        there = "" if options.engine else ", with all parts there"
        suggest(f"python -m pipelines.embed --merge {output} --output FILE.npz{there}")
        return 0
    suggest(f"python -m pipelines.clusters {output}")
    if not done.skipped:
        return 0
    total, listed = done.rows + done.skipped, side_file(options.output)
    print(f"Skipped {done.skipped:,} of {total:,} images: see {listed}", file=sys.stderr)
    return 3


def _tell_of_parts(options, done, news):
    path = options.output if options.engine else options.shard.path(options.output)
    if done is None:
        print(f"{path} is there already")
    else:
        print(f"{path}: {done.rows:,} embeddings{news}; {done.skipped:,} images skipped")


def _reading(options, export):
    """The `Reading` of the export's run, with what is given in its place."""
    from cueco_tf.data.reading import Reading

    given = {"pixel_range": options.pixel_range, "max_megapixels": options.max_megapixels}
    given = {name: value for name, value in given.items() if value is not None}
    try:
        return Reading(**(export.reading | given))
    except ValueError as error:
        raise UsageError(str(error)) from error
    except TypeError as error:
        raise UsageError(
            f"{options.export} reads images in a way that this version of cueco_tf does not know: "
            f"{error}"
        ) from error


def _introduce(source):
    """Says what is taken from a folder and what is left, and what is odd about the pixels."""
    from cueco_tf.embedding.range_check import range_warnings

    for line in source.scan.lines() if source.scan else ():
        print(line)
    for sentence in range_warnings(source):
        print(f"warning: {sentence}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
