"""Embeddings of any kind of file, read block by block."""

from pathlib import Path

from cueco_tf.embedding.embeddings_file import read_file
from cueco_tf.embedding.tables import AT_ONCE, TableError, open_table


def open_embeddings(path):
    """Opens embeddings to be read block by block.

    Args:
        path: of a file of any version, or of a folder of parts.

    Returns:
        A table (see `tables`), of which `paths`, `embeddings`, `clusters` and `similarities` can be
        asked for. That of a file of an earlier version lies in memory.

    Raises:
        ValueError: for anything else, or where pyarrow is missing.
    """
    try:
        return open_table(path)
    except ImportError as error:
        raise ValueError(f"Reading {path} needs {error.name}: pip install pyarrow") from error
    except TableError:
        if Path(path).is_dir():
            raise
    return Columns(*read_file(path))


class Columns:
    """A table of what `read_file` returned.

    Args:
        columns: dict of arrays; `embeddings` is among them.
        origin: dict that says which export made them.
    """

    def __init__(self, columns, origin):
        self.origin, self._columns = origin, columns
        self.rows, self.dim = columns["embeddings"].shape

    def pieces(self):
        """See `tables`."""
        return [self]

    def blocks(self, columns):
        """See `tables`."""
        for start in range(0, self.rows, AT_ONCE):
            block = {name: self._columns[name][start : start + AT_ONCE] for name in columns}
            if "paths" in block:
                block["paths"] = block["paths"].tolist()
            yield block
