"""Files of embeddings, `.npz` or `.parquet`: written a block of rows at a time, and read."""

import csv
import json
import os
import zipfile
from pathlib import Path

import numpy as np

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
        return [name(i) for i in block["index"]]

    longest = max((len(n) for block in part.blocks() for n in names(block)), default=1)
    dim = part.dtype["embedding"].shape
    members = {
        "paths": (np.dtype(f"<U{longest}"), (), names),
        "embeddings": (np.dtype("<f4"), dim, lambda block: block["embedding"]),
        "clusters": (np.dtype("<i8"), (), lambda block: block["cluster"]),
        "similarities": (np.dtype("<f4"), (), lambda block: block["similarity"]),
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = origin.encode()
        for title, (dtype, shape, column) in members.items():
            member = zipfile.ZipInfo(f"{title}.npy", _LONG_AGO)
            with archive.open(member, "w", force_zip64=True) as file:
                header = {"descr": dtype.str, "fortran_order": False, "shape": (part.rows, *shape)}
                np.lib.format.write_array_header_1_0(file, header)
                for block in part.blocks():
                    file.write(np.ascontiguousarray(column(block), dtype).tobytes())


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
        `(columns, origin)`: a dict of the arrays `paths`, `embeddings`, `clusters` and
        `similarities`, and a dict that says which export made them.

    Raises:
        ValueError: for another file, or a `.parquet` without pyarrow.
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".parquet":
            return _read_parquet(path)
        with zipfile.ZipFile(path) as archive:
            origin = json.loads(archive.comment or "{}")
        with np.load(path, allow_pickle=False) as file:
            names = ("paths", "embeddings", "clusters", "similarities")
            return {name: file[name] for name in names}, origin
    except ImportError as error:
        raise ValueError(f"Reading {path} needs {error.name}: pip install pyarrow") from error
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is not a file of embeddings ({printable(str(error)).strip()}). Make one: "
            f"python -m pipelines.embed EXPORT IMAGES --output embeddings.npz"
        ) from error


def _read_parquet(path):
    from pyarrow import parquet

    table = parquet.read_table(path)
    origin = json.loads((table.schema.metadata or {}).get(b"origin", b"{}"))
    embeddings = table["embeddings"].combine_chunks()
    columns = {
        "paths": np.array(table["paths"].to_pylist(), dtype=str),
        "embeddings": embeddings.flatten().to_numpy().reshape(len(table), -1),
        "clusters": table["clusters"].to_numpy(),
        "similarities": table["similarities"].to_numpy(),
    }
    return columns, origin


def printable(text):
    """A name as text that any terminal or file takes: bytes that are no UTF-8 become `?`-like."""
    return os.fsencode(text).decode(errors="replace")
