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
from cueco_tf.storage import write_atomically

SUFFIXES = (".npz", ".parquet")
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the first date that a zip archive knows


def write_file(path, part, name, origin):
    """Writes all rows of a part file, by the path's suffix, safely: all or nothing.

    Args:
        path: ends in `.npz` or `.parquet`.
        part: `PartFile`, flushed.
        name: function of an image's number that returns its name.
        origin: dict for JSON: which export made the rows. In the archive's comment or the
            table's metadata.
    """
    write = {".npz": _write_npz, ".parquet": _write_parquet}[Path(path).suffix.lower()]
    write_atomically(path, lambda temporary: write(temporary, part, name, json.dumps(origin)))


def _write_npz(path, part, name, origin):
    def names(block):
        text = b"".join(os.fsencode(name(i)) + b"\0" for i in block["index"])
        return np.frombuffer(text, np.uint8)

    length = sum(len(names(block)) for block in part.blocks()) - 1  # no zero after the last
    rows, dim = part.rows, part.dtype["embedding"].shape
    members = {
        "paths_utf8": ("|u1", (length,), names),
        "embeddings": ("<f4", (rows, *dim), lambda block: block["embedding"]),
        "clusters": ("<i8", (rows,), lambda block: block["cluster"]),
        "similarities": ("<f4", (rows,), lambda block: block["similarity"]),
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = origin.encode()
        for title, (dtype, shape, column) in members.items():
            member = zipfile.ZipInfo(f"{title}.npy", _LONG_AGO)
            with archive.open(member, "w", force_zip64=True) as file:
                header = {"descr": dtype, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                left = math.prod(shape) * np.dtype(dtype).itemsize
                for block in part.blocks():
                    content = np.ascontiguousarray(column(block), dtype).tobytes()[:left]
                    left -= file.write(content)


def _write_parquet(path, part, name, origin):
    import pyarrow as pa
    from pyarrow import parquet

    (dim,) = part.dtype["embedding"].shape
    schema = pa.schema(
        {
            "paths": pa.string(),
            "embeddings": pa.list_(pa.float32(), dim),
            "clusters": pa.int64(),
            "similarities": pa.float32(),
        },
        metadata={"origin": origin},
    )
    with parquet.ParquetWriter(path, schema) as writer:
        for block in part.blocks():
            flat = pa.array(block["embedding"].reshape(-1))
            columns = [
                pa.array([printable(name(i)) for i in block["index"]]),
                pa.FixedSizeListArray.from_arrays(flat, dim),
                pa.array(block["cluster"]),
                pa.array(block["similarity"]),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def write_skipped(path, part):
    """Writes the side file, `path,reason` a line, or removes an old one when nothing was skipped.

    Returns:
        The number of skipped images.
    """
    count = 0

    def write(temporary):
        nonlocal count
        with open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.writer(file)
            writer.writerow(("path", "reason"))
            for pair in part.skipped():
                writer.writerow(pair)
                count += 1

    write_atomically(path, write)
    if not count:
        Path(path).unlink()
    return count


def read_file(path):
    """Reads a file of embeddings.

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
    try:
        read = _read_parquet if path.suffix.lower() == ".parquet" else _read_npz
        columns, origin = read(path)
        _check(columns)
        return columns, origin
    except ImportError as error:
        raise ValueError(f"Reading {path} needs {error.name}: pip install pyarrow") from error
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is not a file of embeddings ({printable(str(error)).strip()}). Make one: "
            f"python -m pipelines.embed EXPORT IMAGES --output embeddings.npz"
        ) from error


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
    from pyarrow import parquet

    table = parquet.read_table(path)
    origin = json.loads((table.schema.metadata or {}).get(b"origin", b"{}"))
    embeddings = table["embeddings"].combine_chunks()
    columns = {
        "paths": np.array(table["paths"].to_pylist(), object),
        "embeddings": embeddings.flatten().to_numpy().reshape(len(table), -1),
        "clusters": table["clusters"].to_numpy(),
        "similarities": table["similarities"].to_numpy(),
    }
    return columns, origin
