"""Work under way: rows on disk that survive a kill.

`.NAME.part/` beside the output holds rows of one fixed size, a list of skipped images and a note of
how far both are safe on disk. The output is written from it at the end.
"""

import contextlib
import json
import os
import shutil
from pathlib import Path

import numpy as np

from cueco_tf.storage import write_atomically

_BLOCK = 8192  # rows that `blocks` holds at once


class PartFile:
    """Rows under way, in a hidden folder beside the output.

    Args:
        output: path of the file that is to be written.
        embedding_dim: integer.
        job: string that tells one piece of work from another: rows of another job are dropped.
    """

    def __init__(self, output, embedding_dim, job):
        output = Path(output)
        self.folder = output.with_name(f".{output.name}.part")
        self.dtype = np.dtype(
            [
                ("index", "<i8"),
                ("cluster", "<i8"),
                ("similarity", "<f4"),
                ("embedding", "<f4", (embedding_dim,)),
            ]
        )
        self._note, self._job = self.folder / "progress.json", job
        known = self._read_note()
        if known is None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            known = {"done": 0, "rows": 0, "skipped_bytes": 0}
        self.done, self.rows = known["done"], known["rows"]
        self._rows_file = open(self.folder / "rows", "ab")  # noqa: SIM115 (closed by `close`)
        self._skipped_file = open(self.folder / "skipped", "ab")  # noqa: SIM115
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

    def append(self, done, kept, outputs, skipped):
        """Adds a block.

        Args:
            done: integer: the images dealt with, this block included.
            kept: the numbers of the images that have a row, in order.
            outputs: `Outputs` of those.
            skipped: list of `(name, reason)` of the others.
        """
        block = np.empty(len(kept), self.dtype)
        block["index"], block["cluster"] = kept, outputs.clusters
        block["similarity"], block["embedding"] = outputs.similarities, outputs.embeddings
        self._rows_file.write(block.tobytes())
        lines = "".join(json.dumps(pair) + "\n" for pair in skipped)
        self._skipped_file.write(lines.encode())
        self.done, self.rows = done, self.rows + len(kept)

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

    def skipped(self):
        """Yields `(name, reason)` of each image without a row."""
        with open(self.folder / "skipped") as file:
            yield from map(json.loads, file)

    def close(self):
        """Closes the files, which stay, for `blocks` and `skipped` to be read.

        Raises:
            OSError: where the last rows cannot be written.
        """
        for file in (self._rows_file, self._skipped_file):
            file.close()

    def remove(self):
        """Takes the folder away, whatever state it is in."""
        with contextlib.suppress(OSError):  # on a full disk the last rows cannot be written
            self.close()
        shutil.rmtree(self.folder, ignore_errors=True)
