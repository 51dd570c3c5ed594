"""Work under way: rows on disk that survive a kill.

`.NAME.part/` beside the output holds rows of one fixed size, a list of skipped images and a note of
how far both are safe on disk. The output is written from it at the end. One process at a time works
on an output.
"""

import contextlib
import json
import os
import shutil
from pathlib import Path

import numpy as np

from cueco_tf.embedding.tables import row_dtype
from cueco_tf.ownership import own
from cueco_tf.storage import remove_partials, write_atomically

_BLOCK = 8192  # rows that `blocks` holds at once


class PartError(RuntimeError):
    """Rows that are not what was added."""


class PartFile:
    """Rows under way, in a hidden folder beside the output, which it owns until it is closed.

    Args:
        output: path of the file that is to be written.
        embedding_dim: integer.
        job: string that tells one piece of work from another: rows of another job are dropped.

    `dtype` is that of a row: the image's number as `index`, then `tables.row_dtype`.

    Raises:
        InUseError: where another process works on the output.
    """

    def __init__(self, output, embedding_dim, job):
        output = Path(output)
        self.folder = output.with_name(f".{output.name}.part")
        self.dtype = np.dtype([("index", "<i8"), *row_dtype(embedding_dim).descr])
        self._note, self._job = self.folder / "progress.json", job
        with contextlib.ExitStack() as opened:
            opened.enter_context(own(output))
            remove_partials(output)
            self._open(opened)
            self._opened = opened.pop_all()

    def _open(self, opened):
        known = self._read_note()
        if known is None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            known = {"done": 0, "rows": 0, "skipped_bytes": 0}
        self.done, self.rows = known["done"], known["rows"]
        rows, skipped = (self.folder / name for name in ("rows", "skipped"))
        self._rows_file = opened.enter_context(rows.open("ab"))
        self._skipped_file = opened.enter_context(skipped.open("ab"))
        # What came after the last note may be half a block.
        self._rows_file.truncate(self.rows * self.dtype.itemsize)
        self._skipped_file.truncate(known["skipped_bytes"])

    def _read_note(self):
        """How far the work went; None when this is another job, or files were tampered with."""
        try:
            known = json.loads(self._note.read_text())
            rows, skipped = ((self.folder / name).stat().st_size for name in ("rows", "skipped"))
            whole = (
                rows >= known["rows"] * self.dtype.itemsize and skipped >= known["skipped_bytes"]
            )
            return known if whole and known["job"] == self._job and known["done"] >= 0 else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def append(self, done, rows, skipped):
        """Adds a block.

        Args:
            done: integer: the images dealt with, this block included.
            rows: those of the images that have one, in order: `(n,)` of `dtype`.
            skipped: list of `(name, reason)` of the others.
        """
        self._rows_file.write(rows.tobytes())
        lines = "".join(json.dumps(pair) + "\n" for pair in skipped)
        self._skipped_file.write(lines.encode())
        self.done, self.rows = done, self.rows + len(rows)

    def flush(self):
        """Brings all that was added safely to disk, then notes how far it goes."""
        for file in (self._rows_file, self._skipped_file):
            file.flush()
            os.fsync(file.fileno())
        note = {
            "job": self._job,
            "done": self.done,
            "rows": self.rows,
            "skipped_bytes": self._skipped_file.tell(),
        }
        write_atomically(self._note, lambda path: path.write_text(json.dumps(note)))

    def blocks(self):
        """Yields the rows in order, as structured arrays of `dtype`."""
        for start in range(0, self.rows, _BLOCK):
            count = min(_BLOCK, self.rows - start)
            offset = start * self.dtype.itemsize
            yield np.fromfile(self.folder / "rows", self.dtype, count, offset=offset)

    def named(self, name):
        """The rows as `embeddings_file.write_file` takes them.

        Args:
            name: function of an image's number that returns its name.
        """
        return _NamedRows(self, name)

    def skipped(self):
        """Yields `(name, reason)` of each image without a row."""
        with open(self.folder / "skipped") as file:
            yield from map(json.loads, file)

    def check(self, total):
        """Makes sure that each image was dealt with once.

        Args:
            total: integer, how many images there are.

        Raises:
            PartError: where one is missing or there twice.
        """
        last, skipped = -1, sum(1 for _ in self.skipped())
        for block in self.blocks():
            numbers = np.concatenate([[last], block["index"]])
            if not (np.diff(numbers) > 0).all():
                raise PartError(f"after image {last} some are there twice, or out of order")
            last = int(numbers[-1])
        if self.done != total or self.rows + skipped != total or last >= total:
            raise PartError(f"{self.rows} rows and {skipped} skipped images of {total}")

    def close(self):
        """Closes the files, which stay, and owns the output no longer.

        Raises:
            OSError: where the last rows cannot be written.
        """
        self._opened.close()

    def remove(self):
        """Takes the folder away, whatever state it is in, and closes what was open."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # on a full disk the last rows cannot be written
            self.close()


class _NamedRows:
    def __init__(self, part, name):
        self.rows, self.dim = part.rows, part.dtype["embeddings"].shape[0]
        self._part, self._name = part, name

    def blocks(self, columns):
        for block in self._part.blocks():
            paths = {"paths": [self._name(i) for i in block["index"]]} if "paths" in columns else {}
            yield {**{name: block[name] for name in columns if name != "paths"}, **paths}
