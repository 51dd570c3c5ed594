"""The rows of a source, made block by block on all cores, or taken from an earlier time."""

import contextlib
import errno
import time

import numpy as np

from cueco_tf.embedding.earlier import Earlier
from cueco_tf.embedding.part_file import PartError, PartFile
from cueco_tf.embedding.tables import row_dtype
from cueco_tf.export.reading import cores, map_in_order
from cueco_tf.progress import every, tqdm
from cueco_tf.storage import disk_of, free_space

_FLUSH_SECONDS = 1.0  # work that a kill may cost


def check_space(output, needed):
    """Raises OSError when the disk of an output, a path, cannot hold so many bytes."""
    free = free_space(output)
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"no space: this needs {needed / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free",
        )


@contextlib.contextmanager
def embedded_rows(export, encoder, source, output, threads, update, by_hash, pace=None):
    """Embeds all images of a source.

    Args:
        export, encoder, source, output, threads, update, by_hash, pace: as in `work.embed`.

    Yields:
        `(part, (unchanged, gone))`: the `PartFile`, which is removed once the block has succeeded,
        and the numbers of `work.Embedded`.

    Raises:
        InUseError, PartError, TableError, OSError: as in `work.embed`.
    """
    names = sum(len(source.name(i)) + 1 for i in range(len(source)))
    copies = 3 if update else 2  # what is known, the rows under way, the result
    row = row_dtype(export.embedding_dim).itemsize
    check_space(output, len(source) * copies * row + names)
    earlier = update and Earlier(update, export, source, by_hash, disk_of(output))
    job = f"{export.sha256} {encoder.batch_size} {source.fingerprint()}"
    part = PartFile(output, export.embedding_dim, job)
    try:
        with pace.running() if pace else contextlib.nullcontext():
            unchanged = _embed(encoder, source, part, threads or cores(), earlier, pace)
        part.check(len(source))
        yield part, (unchanged, earlier.gone if earlier else 0)
        part.remove()
    except (PartError, OSError):
        part.remove()
        raise
    finally:
        with contextlib.suppress(OSError):
            part.close()


def _embed(encoder, source, part, threads, earlier, pace):
    """Brings the rows of all images into the part file, from where it stands; returns how many of
    them are of an earlier time."""
    if part.done:
        print(f"Going on after {part.done:,} of {len(source):,} images")

    def work(start):
        numbers = range(start, min(start + encoder.batch_size, len(source)))
        return numbers.stop, *_block(encoder, source, numbers, earlier, part.dtype, pace)

    starts = range(part.done, len(source), encoder.batch_size)
    flushed, unchanged = time.monotonic(), 0
    with (
        tqdm(
            total=len(source),
            initial=part.done,
            desc="Embedding",
            unit=" images",
            mininterval=every(10.0),
        ) as bar,
        contextlib.closing(map_in_order(work, starts, threads)) as blocks,
    ):
        for done, rows, skipped, old in blocks:
            bar.update(done - part.done)
            part.append(done, rows, skipped)
            unchanged += old
            if time.monotonic() - flushed > _FLUSH_SECONDS:
                part.flush()
                flushed = time.monotonic()
    part.flush()
    return unchanged


def _block(encoder, source, numbers, earlier, dtype, pace):
    """The rows of some images, the skipped ones, and how many rows are of an earlier time."""
    old, old_rows = earlier.unchanged(numbers) if earlier else ([], None)
    new = sorted(set(numbers).difference(old))
    with pace.reading(len(new)) if pace else contextlib.nullcontext():
        states = source.states(new)  # before they are read: later changes are noticed next time
        images, kept, skipped = source.load(new)
    found, kept, endless = _encoded(encoder, source, images, kept)
    skipped = [*skipped, *endless]
    rows = np.empty(len(old) + len(kept), dtype)
    before, after = rows[: len(old)], rows[len(old) :]
    if old:
        before["index"] = old
        for name in old_rows.dtype.names:
            before[name] = old_rows[name]
    if kept:
        after["index"] = kept
        for name, values in found.items():
            after[name] = values
        for name in states.dtype.names:
            after[name] = states[name][np.searchsorted(new, kept)]
    return rows[np.argsort(rows["index"])], skipped, len(old)


def _encoded(encoder, source, images, kept):
    """What the encoder gives for images, by name; the numbers of those it gives numbers for; and
    `(name, reason)` of the others."""
    if not kept:
        return {}, kept, []
    found = encoder(images)
    finite = np.isfinite(found.embeddings).all(axis=1)
    why = "the encoder gives no finite numbers for it"
    endless = [(source.name(kept[i]), why) for i in np.flatnonzero(~finite)]
    numbers = [kept[i] for i in np.flatnonzero(finite)]
    return {name: values[finite] for name, values in found._asdict().items()}, numbers, endless
