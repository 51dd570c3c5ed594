"""What of the command line of `embed` cannot work."""

import importlib.util
from pathlib import Path

from cueco_tf.export.devices import providers_for
from cueco_tf.ownership import check_free
from pipelines.command import UsageError, check_parent


def check_options(options):
    """Raises UsageError for values that cannot work, before anything is read; `shard` becomes a
    `Shard`."""
    folder = options.copy_to
    for name in ("threads", "shards"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise UsageError(f"--{name} should be at least 1. Received: {getattr(options, name)}")
    _check_kind(options)
    if options.device == "cuda" and not options.engine:  # of Ray's workers each finds out
        providers_for(options.device)
    output = options.output
    check_parent("--output", output)
    if options.shard is None and options.engine is None:
        _check_file(options)
    elif output.exists() and not output.is_dir():
        raise UsageError(f"--output of shards should be a folder. Received the file {output}.")
    if folder is not None and folder.exists():  # never overwritten: it may hold anything
        raise UsageError(f"{folder} exists. Choose a new folder for --copy-to.")
    if folder is not None:
        check_parent("--copy-to", folder)
        check_free(folder)


def _check_kind(options):
    """Raises UsageError where it is neither clear that this embeds, nor that it merges."""
    whole = options.merge is None and options.shard is None and options.engine is None
    if options.merge is None and options.source is None:
        raise UsageError("EXPORT and SOURCE are needed, but for --merge DIR. See --help")
    if options.merge and (options.export or options.shard or options.engine):
        raise UsageError(
            "--merge DIR joins parts that are there: leave EXPORT, SOURCE, --shard, --engine out"
        )
    if options.engine and options.shard:
        raise UsageError("--engine ray embeds all shards: leave --shard out.")
    if options.shards and not options.engine:
        raise UsageError("--shards is for --engine ray. One of N shards is --shard I/N.")
    if options.merge and options.update:
        raise UsageError("--merge joins parts as they are: leave --update out.")
    if options.by_hash and not options.update:
        raise UsageError("--by-hash is for --update.")
    if options.copy_to and not whole:
        raise UsageError(
            "--copy-to is for whole sources. Of a merged file, python -m pipelines.clusters "
            "--copy-to sorts the images."
        )
    if not whole and not _has_pyarrow():
        option = "--merge" if options.merge else "--shard"
        raise UsageError(f"{option} needs pyarrow, for parts are .parquet: pip install pyarrow")
    if options.shard is not None:
        options.shard = _shard(options.shard)
    if options.update:
        _check_update(options)
    if options.output is None and not whole:
        raise UsageError("--output is needed: where to write.")
    if options.engine:
        from cueco_tf.embedding.ray_engine import check_ray

        check_ray()
    options.output = options.output or Path(f"{_name(options.source)}.npz")


def _name(source):
    """What a source is called, without folders and, of a file, its suffix."""
    path = Path(source).resolve()
    return path.stem if path.is_file() else path.name.rpartition(":")[2]


def _check_update(options):
    """Raises UsageError or TableError for an update of what cannot be read; of a file, `output` is
    the file unless it is given."""
    from cueco_tf.embedding.tables import open_table

    old = options.update
    if not old.exists():
        raise UsageError(f"There is no {old} to update. Leave --update out to make it.")
    if (old.is_dir() or old.suffix.lower() == ".parquet") and not _has_pyarrow():
        raise UsageError(f"--update {old} needs pyarrow: pip install pyarrow")
    open_table(old)
    if options.output is None and options.shard is None and not options.engine and not old.is_dir():
        options.output = old


def _shard(text):
    from cueco_tf.embedding.shards import Shard

    index, _, count = str(text).partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise UsageError(f"--shard should be I/N, with I from 0 to N - 1. Received: {text}")
    return Shard(int(index), int(count))


def _has_pyarrow():
    return importlib.util.find_spec("pyarrow") is not None


def _check_file(options):
    """Raises UsageError for an output that cannot be written."""
    from cueco_tf.embedding.embeddings_file import SUFFIXES

    output = options.output
    if output.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--output should end in .npz or .parquet. Received: {output}")
    if output.suffix.lower() == ".parquet" and not _has_pyarrow():
        raise UsageError("--output FILE.parquet needs pyarrow: pip install pyarrow")
    same = options.update is not None and output.resolve() == options.update.resolve()
    if output.is_dir() or (output.exists() and not (options.overwrite or same)):
        raise UsageError(f"{output} exists. Choose another --output, or add --overwrite.")
    check_free(output)
