"""Files of embeddings, `.npz` or `.parquet`: written a block of rows at a time, and read.

An `.npz` holds the paths as one text, `paths_utf8`: its bytes, one path after the other with a zero
byte between, so that a long path costs its own length alone:
`file["paths_utf8"].tobytes().decode().split("\0")`. Earlier versions wrote an array `paths` as wide
as the longest; both are read.
"""

import csv
import json
import math
import os
import zipfile
from pathlib import Path

import numpy as np

from cueco_tf.data.tally import printable
from cueco_tf.embedding.tables import TableError, open_parquet, open_table, row_dtype, schema
from cueco_tf.storage import write_atomically

SUFFIXES = (".npz", ".parquet")
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the first date that a zip archive knows


def write_file(path, table, origin, part=None):
    """Writes all rows of a table, by the path's suffix, safely: all or nothing.

    Args:
        path: ends in `.npz` or `.parquet`.
        table: has `rows`, `dim` and `blocks(columns)`, as in `tables`.
        origin: dict for JSON: which export made the rows. In the archive's comment or the
            table's metadata.
        part: dict for JSON, which part of a whole a `.parquet` is. Defaults to None.
    """
    more = {"origin": origin} if part is None else {"origin": origin, "part": part}
    more = {name: json.dumps(value) for name, value in more.items()}
    write = {".npz": _write_npz, ".parquet": _write_parquet}[Path(path).suffix.lower()]
    write_atomically(path, lambda temporary: write(temporary, table, **more))


def _write_npz(path, table, origin):
    def text(paths):
        return np.frombuffer(b"".join(os.fsencode(path) + b"\0" for path in paths), np.uint8)

    # No zero after the last one.
    length = sum(len(text(block["paths"])) for block in table.blocks(["paths"])) - 1
    members = {"paths": ("paths_utf8", np.dtype("u1"), (length,))}
    for name, (dtype, _) in row_dtype(table.dim).fields.items():
        members[name] = name, dtype.base, (table.rows, *dtype.shape)
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = origin.encode()
        for column, (title, dtype, shape) in members.items():
            member = zipfile.ZipInfo(f"{title}.npy", _LONG_AGO)
            with archive.open(member, "w", force_zip64=True) as file:
                header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                left = math.prod(shape) * dtype.itemsize
                for block in table.blocks([column]):
                    values = text(block["paths"]) if column == "paths" else block[column]
                    content = np.ascontiguousarray(values, dtype).tobytes()[:left]
                    left -= file.write(content)


def _write_parquet(path, table, **metadata):
    import pyarrow as pa
    from pyarrow import parquet

    columns, odd, row = schema(table.dim, metadata), {}, 0
    plain = "clusters", "similarities", "sizes", "mtimes_ns"
    with parquet.ParquetWriter(path, columns, write_page_checksum=True) as writer:
        for block in table.blocks(columns.names):
            paths = [printable(path) for path in block["paths"]]
            odd |= {row + i: path for i, path in enumerate(block["paths"]) if path != paths[i]}
            row += len(paths)
            flat = pa.array(block["embeddings"].reshape(-1))
            arrays = {
                "paths": pa.array(paths, pa.string()),
                "embeddings": pa.FixedSizeListArray.from_arrays(flat, table.dim),
                "hashes": pa.FixedSizeBinaryArray.from_buffers(
                    pa.binary(16), len(paths), [None, pa.py_buffer(block["hashes"].tobytes())]
                ),
                **{name: pa.array(block[name]) for name in plain},
            }
            writer.write_table(pa.Table.from_pydict(arrays, schema=columns))
        if odd:
            writer.add_key_value_metadata({"names": json.dumps(odd)})


def write_skipped(path, skipped):
    """Writes the side file, `path,reason` a line, or removes an old one when nothing was skipped.

    Args:
        path: of the side file.
        skipped: iterable of `(name, reason)`.

    Returns:
        The number of skipped images.
    """
    count = 0

    def write(temporary):
        nonlocal count
        with open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.writer(file)
            writer.writerow(("path", "reason"))
            for pair in skipped:
                writer.writerow(pair)
                count += 1

    write_atomically(path, write)
    if not count:
        Path(path).unlink()
    return count


def read_file(path):
    """Reads a file of embeddings, or a folder of parts.

    Args:
        path: what `python -m pipelines.embed` has written.

    Returns:
        `(columns, origin)`: a dict of the arrays `paths` (strings, each as long as it is),
        `embeddings`, `clusters` and `similarities`, and a dict that says which export made them,
        from which images and how these were read.

    Raises:
        ValueError: for another file, or a `.parquet` without pyarrow.
    """
    path = Path(path)
    read = _read_parquet if path.suffix.lower() == ".parquet" else _read_npz
    try:
        columns, origin = (_read_parts if path.is_dir() else read)(path)
        _check(columns)
        return columns, origin
    except TableError:
        raise
    except ImportError as error:
        raise ValueError(f"Reading {path} needs {error.name}: pip install pyarrow") from error
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is not a file of embeddings ({printable(str(error)).strip()}). Make one: "
            f"python -m pipelines.embed EXPORT IMAGES --output embeddings.npz"
        ) from error


def _read_parts(path):
    table = open_table(path)
    names = ["paths", "embeddings", "clusters", "similarities"]
    blocks = list(table.blocks(names))
    columns = {name: np.concatenate([block[name] for block in blocks]) for name in names[1:]}
    columns["paths"] = np.array([path for block in blocks for path in block["paths"]], object)
    return columns, table.origin


def _read_npz(path):
    with zipfile.ZipFile(path) as archive:
        origin = json.loads(archive.comment or "{}")
    with np.load(path, allow_pickle=False) as file:
        columns = {name: file[name] for name in ("embeddings", "clusters", "similarities")}
        return {**columns, "paths": _paths(file)}, origin


def _check(columns):
    """Raises ValueError for columns of another shape or kind than `embed` writes."""
    count = len(columns["paths"])
    for name, kinds, ndim in (
        ("paths", "OU", 1),
        ("embeddings", "f", 2),
        ("clusters", "iu", 1),
        ("similarities", "f", 1),
    ):
        column = columns[name]
        if column.dtype.kind not in kinds or column.ndim != ndim:
            raise ValueError(f"its {name} are {column.dtype} of shape {column.shape}")
    if len({len(column) for column in columns.values()}) != 1:
        raise ValueError("its arrays differ in length")
    if not count:
        raise ValueError("it holds no embedding")
    if not all(
        np.isfinite(columns["embeddings"][i : i + 8192]).all() for i in range(0, count, 8192)
    ):
        raise ValueError("its embeddings are not all finite numbers")


def _paths(file):
    """The paths of an `.npz`, of this version or an earlier one."""
    if "paths" in file:
        return file["paths"].astype(object)
    text = file["paths_utf8"].tobytes()
    return np.array([os.fsdecode(path) for path in text.split(b"\0")], object)


def _read_parquet(path):
    file, about = open_parquet(path)
    with file:
        table = file.read(["paths", "embeddings", "clusters", "similarities"])
    paths = np.array(table["paths"].to_pylist(), object)
    for row, name in about["names"].items():
        paths[row] = name
    columns = {
        "paths": paths,
        "embeddings": table["embeddings"].combine_chunks().flatten().to_numpy(),
        "clusters": table["clusters"].to_numpy(),
        "similarities": table["similarities"].to_numpy(),
    }
    columns["embeddings"] = columns["embeddings"].reshape(len(table), -1)
    return columns, about["origin"]
