"""Rows of an earlier time, for images that have not changed since."""

import dataclasses
import tempfile

import numpy as np

from cueco_tf.data.reading import Reading
from cueco_tf.embedding.tables import TableError, open_table, row_dtype
from cueco_tf.progress import tqdm


class Earlier:
    """The rows that a table has for the images of a source.

    They lie in a nameless file, which ends with the process; memory holds their paths. `gone` is
    how many rows of the table are of no image of the source.

    Args:
        path: as in `tables.open_table`.
        export: `Export` of the rows to come.
        source: what `sources.open_source` returned, or a range of it.
        by_hash: whether the content says if an image has changed, in place of size and time.
        folder: path, there, for the nameless file.

    Raises:
        TableError: for a table that cannot be read, or that another export made.
        OSError: where the disk is full, and the like.
    """

    def __init__(self, path, export, source, by_hash, folder):
        self._source, self.gone = source, 0
        self._fields = ["hashes"] if by_hash else ["sizes", "mtimes_ns"]
        table = open_table(path)
        _check_origin(path, table, export, source)
        self._places = dict.fromkeys(map(source.name, range(len(source))), -1)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (needed after this)
        self._fill(table)
        self._file.flush()

    def _fill(self, table):
        self._dtype, count = row_dtype(table.dim), 0
        with tqdm(total=table.rows, desc="Reading", unit=" rows", leave=False) as bar:
            for piece in table.pieces():
                # Of a part that holds none of a shard's images only the paths are read.
                if self._look_for(piece, bar):
                    count = self._take(piece, count)

    def _look_for(self, table, bar):
        """Counts what is gone; returns whether the table has rows of images of the source."""
        found = 0
        for block in table.blocks(["paths"]):
            known = sum(name in self._places for name in block["paths"])
            found += known
            self.gone += len(block["paths"]) - known
            bar.update(len(block["paths"]))
        return found > 0

    def _take(self, table, count):
        """Adds the rows of images of the source to the `count` that are there; the new count."""
        for block in table.blocks(["paths", *self._dtype.names]):
            chosen = []
            for i, name in enumerate(block["paths"]):
                if self._places.get(name) == -1:
                    self._places[name] = count + len(chosen)
                    chosen.append(i)
            rows = np.empty(len(chosen), self._dtype)
            for field in self._dtype.names:
                rows[field] = block[field][chosen]
            self._file.write(rows.tobytes())
            count += len(chosen)
        return count

    def unchanged(self, numbers):
        """What need not be embedded again.

        Args:
            numbers: ascending numbers of images of the source.

        Returns:
            `(kept, rows)`: a list of numbers, and their rows, of `row_dtype`, with the sizes and
            times of today.
        """
        places = np.array([self._places[self._source.name(i)] for i in numbers], np.int64)
        known = np.flatnonzero(places >= 0)
        rows = self._read(places[known])
        today = self._source.states([numbers[k] for k in known], hashes="hashes" in self._fields)
        same = today["sizes"] >= 0
        for field in self._fields:
            equal = rows[field] == today[field]
            same &= equal.all(axis=tuple(range(1, equal.ndim)))
        rows, today = rows[same], today[same]
        for field in ("sizes", "mtimes_ns"):
            rows[field] = today[field]
        return [numbers[k] for k in known[same]], rows

    def _read(self, places):
        rows = np.empty(len(places), self._dtype)
        if len(places):
            # A new map each time: an old one counts as memory what was read by it.
            rows[:] = np.memmap(self._file, self._dtype, "r")[places]
        return rows


def _reading_of(table):
    """How the images of a table were read: all arguments of `Reading`, or None for an array."""
    found = table.origin.get("reading")
    return found and dataclasses.asdict(Reading(**found).settled())


def _check_origin(path, table, export, source):
    reading = source.reading and dataclasses.asdict(source.reading)
    found = table.origin.get("sha256"), _reading_of(table)
    if found[0] != export.sha256 or table.dim != export.embedding_dim:
        differing = (
            f"export (sha256 {str(found[0])[:12]}..., of the one given {export.sha256[:12]}...)"
        )
    elif found[1] != reading:
        differing = f"reading of images ({found[1]}, of the one given {reading})"
    else:
        return
    raise TableError(f"{path} was made with another {differing}. Embed anew, without --update.")
