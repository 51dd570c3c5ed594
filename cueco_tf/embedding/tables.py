"""Rows of embeddings read some at a time: of an `.npz`, a `.parquet`, a folder of parts.

A table has `rows`, how many there are, `dim`, the length of an embedding, `origin`, a dict that
says which export made them, and `blocks(columns)`, which yields dicts of those columns for some
rows at a time, in order: `paths` a list of strings, the others arrays. It can be asked again.
`pieces()` are the tables that it consists of.
"""

import contextlib
import itertools
import json
import os
import zipfile
from pathlib import Path

import numpy as np

AT_ONCE = 8192  # rows that a table holds at once
_TEXT_AT_ONCE = 1 << 20  # bytes of paths

# Of an image's file when it was read: bytes, time of the last change, BLAKE2b. An update goes by
# them. Of an image in an array, that of its pixels, with the time of the array's file.
STATE_DTYPE = np.dtype([("sizes", "<i8"), ("mtimes_ns", "<i8"), ("hashes", "u1", (16,))])


class TableError(ValueError):
    """Embeddings that cannot be read; the message says why and what to do."""


def row_dtype(dim):
    """All columns but the paths as the fields of a structured array.

    Args:
        dim: integer, the length of an embedding.
    """
    fields = [("embeddings", "<f4", (dim,)), ("clusters", "<i8"), ("similarities", "<f4")]
    return np.dtype([*fields, *STATE_DTYPE.descr])


def schema(dim, metadata=None):
    """The columns of a `.parquet`, as pyarrow describes them.

    Args:
        dim: integer, the length of an embedding.
        metadata: dict of strings, or None.
    """
    import pyarrow as pa

    columns = {
        "paths": pa.string(),
        "embeddings": pa.list_(pa.float32(), dim),
        "clusters": pa.int64(),
        "similarities": pa.float32(),
        "sizes": pa.int64(),
        "mtimes_ns": pa.int64(),
        "hashes": pa.binary(16),
    }
    return pa.schema(columns, metadata=metadata)


def open_table(path):
    """Opens what `python -m pipelines.embed` has written.

    Args:
        path: of a file that ends in `.npz` or `.parquet`, or of a folder of parts.

    Returns:
        A table: see above.

    Raises:
        TableError: for anything else, and for files of earlier versions, which lack columns.
    """
    path = Path(path)
    if path.is_dir():
        from cueco_tf.embedding.parts import Parts

        return Parts(path)
    return _Parquet(path) if path.suffix.lower() == ".parquet" else _Npz(path)


def open_parquet(path):
    """A `.parquet` of embeddings, opened: a `pyarrow.parquet.ParquetFile` and what it says of
    itself: a dict with `origin`, of a part `part`, and `names`, by row, that are no UTF-8.

    Raises:
        OSError, ValueError: for anything else.
    """
    from pyarrow import parquet

    limit = 2**31 - 1  # of what a part says of its skipped images
    file = parquet.ParquetFile(
        path, thrift_string_size_limit=limit, page_checksum_verification=True
    )
    known = file.metadata.metadata or {}
    about = {name: json.loads(known.get(name.encode(), b"{}")) for name in ("origin", "part")}
    names = json.loads(known.get(b"names", b"{}"))
    return file, about | {"names": {int(row): name for row, name in names.items()}}


def parquet_dim(file):
    """The length of an embedding in what `open_parquet` opened.

    Raises:
        ValueError: where the columns are others than `schema` says.
    """
    _check_names(file.schema_arrow.names)
    dim = getattr(file.schema_arrow.field("embeddings").type, "list_size", 0)
    if not file.schema_arrow.remove_metadata().equals(schema(dim)):
        raise ValueError("its columns are of another kind")
    return dim


def parquet_blocks(file, names, columns):
    """Yields blocks of what `open_parquet` opened: see above."""
    row = 0
    for batch in file.iter_batches(AT_ONCE, columns=columns):
        block = {name: _values(batch.column(name)) for name in columns}
        if "paths" in block:
            for i in names.keys() & range(row, row + len(batch)):
                block["paths"][i - row] = names[i]
        row += len(batch)
        yield block


class _Parquet:
    def __init__(self, path):
        self._path = path
        with _readable(path):
            file, about = open_parquet(path)
            with file:
                self.dim, self.rows = parquet_dim(file), file.metadata.num_rows
            self.origin = about["origin"]

    def pieces(self):
        return [self]

    def blocks(self, columns):
        with _readable(self._path):
            file, about = open_parquet(self._path)
            with file:
                yield from parquet_blocks(file, about["names"], columns)


class _Npz:
    def __init__(self, path):
        self._path = path
        with _readable(path), zipfile.ZipFile(path) as archive:
            self.origin = json.loads(archive.comment or "{}")
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            _check_names("paths" if name == "paths_utf8" else name for name in names)
            with archive.open("embeddings.npy") as file:
                self.rows, self.dim = _header(file)[0]
            for name, (dtype, _) in row_dtype(self.dim).fields.items():
                with archive.open(f"{name}.npy") as file:
                    shape, order, kind = _header(file)
                if (shape, order, kind) != ((self.rows, *dtype.shape), False, dtype.base):
                    raise ValueError(f"its {name} are {kind} of shape {shape}")

    def pieces(self):
        return [self]

    def blocks(self, columns):
        dtype = row_dtype(self.dim)
        with contextlib.ExitStack() as opened:
            opened.enter_context(_readable(self._path))
            archive = opened.enter_context(zipfile.ZipFile(self._path))
            files = {}
            for name in columns:
                title = "paths_utf8" if name == "paths" else name
                files[name] = opened.enter_context(archive.open(f"{title}.npy"))
                _header(files[name])
            paths = _split(files.pop("paths")) if "paths" in files else None
            for start in range(0, self.rows, AT_ONCE):
                count = min(AT_ONCE, self.rows - start)
                block = {}
                for name, file in files.items():
                    content = file.read(count * dtype[name].itemsize)
                    values = np.frombuffer(content, dtype[name].base)
                    block[name] = values.reshape(count, *dtype[name].shape)
                if paths is not None:
                    block["paths"] = list(itertools.islice(paths, count))
                yield block


@contextlib.contextmanager
def _readable(path):
    """Turns what libraries raise for a file that is none of ours into a TableError."""
    try:
        yield
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise TableError(f"{path} cannot be read as embeddings: {reason}") from error


def _check_names(names):
    lacking = {"paths", *row_dtype(1).names} - set(names)
    if lacking and lacking <= {"paths", *STATE_DTYPE.names}:
        raise ValueError(
            "it is of an earlier version, and does not know sizes and times of its images. Embed "
            "anew once: --output FILE --overwrite"
        )
    if lacking:
        raise ValueError(f"it has no {', '.join(sorted(lacking))}")


def _header(file):
    """`(shape, fortran_order, dtype)` of an `.npy` file, which then stands at its content."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


def _split(file):
    """Yields the paths of a text with a zero byte between two."""
    left = b""
    while content := file.read(_TEXT_AT_ONCE):
        *whole, left = (left + content).split(b"\0")
        yield from map(os.fsdecode, whole)
    yield os.fsdecode(left)


def _values(column):
    """An arrow array as NumPy has it; text as a list."""
    import pyarrow as pa

    if pa.types.is_string(column.type):
        return column.to_pylist()
    if pa.types.is_fixed_size_list(column.type):
        return column.flatten().to_numpy().reshape(len(column), -1)
    if pa.types.is_fixed_size_binary(column.type):
        width = column.type.byte_width
        content = np.frombuffer(column.buffers()[1], np.uint8).reshape(-1, width)
        return content[column.offset : column.offset + len(column)]
    return column.to_numpy()
