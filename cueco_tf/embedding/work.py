"""Embeds a source: into a file, or a shard of it into its part; and joins parts to a file.

What is under way survives a kill, and has one owner (`part_file`). What is written appears whole.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

from cueco_tf.embedding import shards
from cueco_tf.embedding.copies import copies_of_part, embeddings_kept
from cueco_tf.embedding.embeddings_file import write_file, write_skipped
from cueco_tf.embedding.parts import Parts
from cueco_tf.embedding.rows import check_space, embedded_rows
from cueco_tf.embedding.source_kinds import SourceError
from cueco_tf.embedding.tables import row_dtype
from cueco_tf.ownership import own
from cueco_tf.storage import remove_partials


class Embedded(NamedTuple):
    """How many images have a row, and how many none; of an update, how many rows were taken from
    it, and how many of its images are gone."""

    rows: int
    skipped: int
    unchanged: int = 0
    gone: int = 0


def embed(
    export,
    encoder,
    source,
    output,
    threads=None,
    copy_to=None,
    update=None,
    by_hash=False,
    pace=None,
):
    """Embeds all images of a source into a file, which it replaces.

    Images that cannot be read have no row; they are listed in `OUTPUT.skipped.csv`.

    Args:
        export: what `export.reading.read_export` returned.
        encoder: what `export.encoder()` returned.
        source: what `sources.open_source` returned.
        output: path that ends in `.npz` or `.parquet`.
        threads: integer. Defaults to all cores.
        copy_to: path of a new folder to copy the images to, a folder a cluster, or None.
        update: path of a file of the same export, it may be the output, or of a folder of parts:
            what has not changed since is taken from there. The result is the same.
        by_hash: whether the content says if an image has changed, in place of its file's size and
            time. Defaults to False.
        pace: `pace.Pace` that counts the images that are read, or None.

    Returns:
        `Embedded`.

    Raises:
        InUseError: where another process works on the output.
        PartError: where rows are not there once each.
        TableError: for an `update` that cannot be used.
        SourceError: where no image can be read; with the embeddings kept for the next try, where
            one cannot be copied.
        OSError: where the disk is full, and the like.
    """
    how = threads, update, by_hash, pace
    with embedded_rows(export, encoder, source, output, *how) as (part, counts):
        if not part.rows:
            first = next(part.skipped())
            part.remove()
            raise _unreadable(len(source), first)
        with copies_of_part(copy_to, source, part, export.num_clusters):
            write_file(output, part.named(source.name), _origin(export, source))
        return Embedded(part.rows, _write_side_file(output, part.skipped()), *counts)


def embed_shard(
    export,
    encoder,
    source,
    folder,
    shard,
    threads=None,
    overwrite=False,
    update=None,
    by_hash=False,
    pace=None,
):
    """Embeds the images of one shard into its part, unless that is there.

    Args:
        export, encoder, source, threads, update, by_hash, pace: as in `embed`; the whole source.
        folder: path of the parts.
        shard: `shards.Shard`.
        overwrite: make a part anew that is there. Defaults to False.

    Returns:
        `Embedded`, or None where the part was there.

    Raises:
        PartsError: where a part is there that belongs to something else.
        InUseError, PartError, TableError, OSError: as in `embed`.
    """
    whole, path = shards.identity(export.sha256, source), shard.path(folder)
    if not overwrite and shards.finished(folder, shard, whole):
        return None
    share = source.cut(*shard.rows(len(source)))
    with embedded_rows(export, encoder, share, path, threads, update, by_hash, pace) as (
        part,
        (unchanged, _),
    ):
        skipped = list(part.skipped())
        about = shards.about(shard, whole, skipped)
        write_file(path, part.named(share.name), _origin(export, source), about)
        return Embedded(part.rows, len(skipped), unchanged)


def merge(folder, output):
    """Joins all parts in a folder to one file, as one process would have written it.

    Args:
        folder: path of the parts, which stay.
        output: as in `embed`.

    Returns:
        `Embedded`.

    Raises:
        PartsError: where parts are missing, damaged, or belong to something else.
        InUseError, SourceError, OSError: as in `embed`.
    """
    with own(output):
        remove_partials(output)
        parts = Parts(folder)
        if not parts.rows:
            raise _unreadable(parts.whole["total"], next(parts.skipped()))
        check_space(output, parts.rows * row_dtype(parts.dim).itemsize)
        write_file(output, parts, parts.origin)
        return Embedded(parts.rows, _write_side_file(output, parts.skipped()))


def side_file(output):
    """The path of the list of images without a row."""
    output = Path(output)
    return output.with_name(f"{output.name}.skipped.csv")


def _write_side_file(output, skipped):
    with embeddings_kept(side_file(output)):
        return write_skipped(side_file(output), skipped)


def _unreadable(total, first):
    return SourceError(f"Not one of {total:,} images could be read. The first: {': '.join(first)}")


def _origin(export, source):
    origin = {"export": str(export.folder), "sha256": export.sha256}
    if source.reading is not None:
        origin["reading"] = dataclasses.asdict(source.reading)
    if source.scan is not None:
        # Without examples: an archive's comment holds 64 KB.
        origin["images"] = {**source.scan.record(), "left": source.scan.left.counts()}
    return origin
