"""A shard of a source, and the part that holds its rows.

A part is a `.parquet` of a contiguous range of the source. It says itself what it belongs to, so
that nothing has to be shared but the folder, and nobody has to be told when it is there.
"""

import dataclasses
import json
from pathlib import Path
from typing import NamedTuple

from cueco_tf.embedding.tables import TableError, open_parquet, parquet_dim

FORMAT = 1
WHAT = {
    "format": "format",
    "sha256": "export",
    "list": "list of images",
    "total": "number of images",
    "reading": "range of pixels, limit of megapixels, channels or depth",
}


class PartsError(TableError):
    """Parts that are no whole; the message says which, and what to do."""


class Shard(NamedTuple):
    """One of `count` shares of a source; `index` is from 0."""

    index: int
    count: int

    def __str__(self):
        return f"{self.index}/{self.count}"

    def path(self, folder):
        """The path of its part in a folder."""
        return Path(folder, f"part-{self.index:05d}-of-{self.count:05d}.parquet")

    def rows(self, total):
        """`(start, stop)`: its range of `total` images."""
        return tuple(total * i // self.count for i in (self.index, self.index + 1))


def identity(export_sha256, source):
    """What all parts of a whole have in common: a dict for JSON.

    Args:
        export_sha256: string, the checksum of the encoder.
        source: the whole source, as `sources.open_source` returned it.
    """
    whole = {
        "format": FORMAT,
        "sha256": export_sha256,
        "list": source.list_fingerprint(),
        "total": len(source),
        "reading": source.reading and dataclasses.asdict(source.reading),
    }
    return json.loads(json.dumps(whole))  # as it is read again


def about(shard, whole, skipped):
    """What a part says of itself: a dict for JSON.

    Args:
        shard: `Shard`.
        whole: what `identity` returned.
        skipped: list of `(name, reason)` of its images without a row.
    """
    return {**whole, "shard": list(shard), "skipped": skipped}


def finished(folder, shard, whole):
    """Whether a shard's part is there, whole.

    Args:
        folder: of the parts.
        shard: `Shard`.
        whole: what `identity` returned.

    Raises:
        PartsError: where there is a part that does not belong to the whole.
    """
    path = shard.path(folder)
    if not path.exists():
        return False
    file, said = open_part(folder, shard)
    file.close()
    if other := differing(said["part"], whole):
        raise PartsError(
            f"{path} is there, with another {other}. Choose another --output, or add --overwrite."
        )
    return True


def open_part(folder, shard):
    """Opens a part and makes sure that every image of its range is there once.

    Returns:
        What `open_parquet` returns.

    Raises:
        PartsError: for a file that is no part, or the part of something else.
    """
    path = shard.path(folder)
    try:
        file, said = open_parquet(path)
        part = said["part"]
        parquet_dim(file)
        if Shard(*part["shard"]) != shard:
            raise ValueError(f"it is the part of shard {Shard(*part['shard'])}")
        start, stop = shard.rows(part["total"])
        rows, skipped = file.metadata.num_rows, len(part["skipped"])
        if rows + skipped != stop - start:
            raise ValueError(f"{rows} rows and {skipped} skipped images of {stop - start}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(folder, shard, error) from error
    return file, said


def damaged(folder, shard, error):
    """`PartsError` for a part that cannot be read, for the reason of an exception."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
    return PartsError(
        f"{shard.path(folder)} is no part that can be read ({reason}). Make it anew: --shard "
        f"{shard} --overwrite"
    )


def differing(known, whole):
    """What two wholes differ in, in words; empty where they are the same."""
    return ", another ".join(
        what for name, what in WHAT.items() if known.get(name) != whole.get(name)
    )
