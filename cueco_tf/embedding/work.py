"""Embeds a source: into a file, or a shard of it into its part; and joins parts to a file.

What is under way survives a kill, and has one owner (`part_file`). What is written appears whole.
"""

import contextlib
import dataclasses
import errno
import shutil
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from cueco_tf.embedding import shards
from cueco_tf.embedding.copies import copies_of_part, embeddings_kept
from cueco_tf.embedding.embeddings_file import write_file, write_skipped
from cueco_tf.embedding.part_file import PartError, PartFile
from cueco_tf.embedding.parts import Parts
from cueco_tf.embedding.source_kinds import SourceError
from cueco_tf.export.reading import cores, map_in_order
from cueco_tf.ownership import own
from cueco_tf.storage import remove_partials

_FLUSH_SECONDS = 1.0  # work that a kill may cost


class Embedded(NamedTuple):
    """How many images were dealt with: those with a row, and those without."""

    rows: int
    skipped: int


def embed(export, encoder, source, output, threads=None, copy_to=None):
    """Embeds all images of a source into a file, which it replaces.

    Images that cannot be read have no row; they are listed in `OUTPUT.skipped.csv`.

    Args:
        export: what `export.reading.read_export` returned.
        encoder: what `export.encoder()` returned.
        source: what `sources.open_source` returned.
        output: path that ends in `.npz` or `.parquet`.
        threads: integer. Defaults to all cores.
        copy_to: path of a new folder to copy the images to, a folder a cluster, or None.

    Returns:
        `Embedded`.

    Raises:
        InUseError: where another process works on the output.
        PartError: where rows are not there once each.
        SourceError: where no image can be read; with the embeddings kept for the next try, where
            one cannot be copied.
        OSError: where the disk is full, and the like.
    """
    with _rows(export, encoder, source, output, threads) as part:
        if not part.rows:
            first = next(part.skipped())
            part.remove()
            raise _unreadable(len(source), first)
        with copies_of_part(copy_to, source, part, export.num_clusters):
            write_file(output, part.named(source.name), _origin(export, source))
        return Embedded(part.rows, _write_side_file(output, part.skipped()))


def embed_shard(export, encoder, source, folder, shard, threads=None, overwrite=False):
    """Embeds the images of one shard into its part, unless that is there.

    Args:
        export, encoder, source, threads: as in `embed`; the whole source.
        folder: path of the parts.
        shard: `shards.Shard`.
        overwrite: make a part anew that is there. Defaults to False.

    Returns:
        `Embedded`, or None where the part was there.

    Raises:
        PartsError: where a part is there that belongs to something else.
        InUseError, PartError, OSError: as in `embed`.
    """
    whole, path = shards.identity(export.sha256, source), shard.path(folder)
    if not overwrite and shards.finished(folder, shard, whole):
        return None
    share = source.cut(*shard.rows(len(source)))
    with _rows(export, encoder, share, path, threads) as part:
        skipped = list(part.skipped())
        about = shards.about(shard, whole, skipped)
        write_file(path, part.named(share.name), _origin(export, source), about)
        return Embedded(part.rows, len(skipped))


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
        _check_space(output, parts.rows * (4 * parts.dim + 20))
        write_file(output, parts, parts.origin)
        return Embedded(parts.rows, _write_side_file(output, parts.skipped()))


def side_file(output):
    """The path of the list of images without a row."""
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


def _check_space(output, needed):
    """Raises OSError before any work when the disk cannot hold so many bytes."""
    folder = Path(output).parent
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"no space: this needs {needed / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free",
        )


@contextlib.contextmanager
def _rows(export, encoder, source, output, threads):
    """The rows of all images as a part file, which is removed once the block has succeeded."""
    names = sum(len(source.name(i)) + 1 for i in range(len(source)))
    # The rows under way, and the result.
    _check_space(output, len(source) * 2 * (4 * export.embedding_dim + 20) + names)
    job = f"{export.sha256} {encoder.batch_size} {source.fingerprint()}"
    part = PartFile(output, export.embedding_dim, job)
    try:
        _embed(encoder, source, part, threads or cores())
        part.check(len(source))
        yield part
        part.remove()
    except (PartError, OSError):
        part.remove()
        raise
    finally:
        with contextlib.suppress(OSError):
            part.close()


def _embed(encoder, source, part, threads):
    """Brings the rows of all images into the part file, from where it stands."""
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
