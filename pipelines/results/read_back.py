"""What `embed`, `clusters`, `duplicates` and `search` wrote, read back when it is asked for."""

import csv
import dataclasses
import functools
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipelines.results.page import Page


def _rows(path):
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


@dataclasses.dataclass(frozen=True)
class Embeddings:
    """A file of embeddings of n images: its `path`."""

    path: Path

    def __len__(self):
        return len(self.paths)

    @functools.cached_property
    def _columns(self):
        from cueco_tf.embedding.embeddings_file import read_file

        return read_file(self.path)[0]

    @property
    def paths(self):
        """Names of the images: `(n,)` strings."""
        return self._columns["paths"]

    @property
    def embeddings(self):
        """float32 `(n, dim)`."""
        return self._columns["embeddings"]

    @property
    def clusters(self):
        """Clusters of the encoder's own: int64 `(n,)`."""
        return self._columns["clusters"]

    @property
    def similarities(self):
        """Cosine to the cluster's centroid: float32 `(n,)`, in [-1, 1]."""
        return self._columns["similarities"]

    @property
    def skipped(self):
        """Images without a row: a list of `(name, reason)`."""
        from cueco_tf.embedding.work import side_file

        listed = side_file(self.path)
        if not listed.is_file():
            return []
        return [(row["path"], row["reason"]) for row in _rows(listed)]


@dataclasses.dataclass(frozen=True)
class _Folder:
    """A folder that a command wrote: its `path`, and its `page`, which a notebook shows."""

    path: Path

    @property
    def page(self):
        """The page to look at: the path of an HTML file."""
        return Page(self.path / "index.html")

    def _repr_html_(self):
        return self.page._repr_html_()


@dataclasses.dataclass(frozen=True)
class Clusters(_Folder):
    """A folder of clusters: its `path`."""

    @functools.cached_property
    def table(self):
        """clusters.csv or .parquet as a dict of `(n,)` arrays by column, a row an image in the
        source's order; the values of the first are texts."""
        if (self.path / "clusters.parquet").is_file():
            from pyarrow import parquet

            table = parquet.read_table(self.path / "clusters.parquet")
            return {name: table[name].to_numpy() for name in table.column_names}
        rows = _rows(self.path / "clusters.csv")
        return {name: np.array([row[name] for row in rows], object) for name in rows[0]}

    @property
    def paths(self):
        """Names of the images: `(n,)` strings."""
        return self.table["path"]

    @property
    def clusters(self):
        """The cluster of each image: int64 `(n,)`; -1 for one that belongs nowhere."""
        return self.table["cluster"].astype(np.int64)

    @functools.cached_property
    def about(self):
        """clusters.json, a dict: what was found, the clusters and their tree."""
        return json.loads((self.path / "clusters.json").read_text("utf-8"))


@dataclasses.dataclass(frozen=True)
class Duplicates(_Folder):
    """A folder of near-duplicates: its `path`."""

    @property
    def groups(self):
        """Images that are nearly the same: a list of lists of names, of each the first to keep."""
        groups = {}
        for row in _rows(self.path / "duplicates.csv"):
            groups.setdefault(row["group"], []).append(row["path"])
        return list(groups.values())

    @property
    def leaks(self):
        """Images of the second set that are nearly in the first: a list of `(name, nearest)`; None
        where there was no second set."""
        if not (self.path / "leaks.csv").is_file():
            return None
        return [(row["path"], row["nearest"]) for row in _rows(self.path / "leaks.csv")]

    @property
    def outliers(self):
        """Names of the images that are far from all others, the farthest first."""
        return [row["path"] for row in _rows(self.path / "outliers.csv")]


class Match(NamedTuple):
    """An image that was found: its row in the file, name, cosine to the query, and cluster."""

    row: int
    path: str
    similarity: float
    cluster: int


@dataclasses.dataclass(frozen=True)
class Nearest:
    """What a search found: a list of `matches`, best first, the path of the `sheet` that shows
    them, which the next search may replace, and its `picture` as PNG, which a notebook shows."""

    matches: list
    sheet: Path
    title: str
    picture: bytes = dataclasses.field(repr=False)

    def __len__(self):
        return len(self.matches)

    def __iter__(self):
        return iter(self.matches)

    def _repr_png_(self):
        return self.picture
