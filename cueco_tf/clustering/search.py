"""The images nearest to a query among embedded ones: exact, and however many there are.

A table has `rows`, `dim` and `blocks(columns)`, as `embedding.tables` describes it, and is read
block by block. An index would have to read all of it too, and then answers one query.
"""

from typing import NamedTuple

import numpy as np

from cueco_tf.evaluation.vectors import normalize


class Found(NamedTuple):
    """A row of a table, and its cosine to what was looked for."""

    row: int
    similarity: float


def nearest_rows(table, query, top, own=None):
    """The most similar rows, by cosine.

    Args:
        table: see above.
        query: float32 `(dim,)`.
        top: integer >= 1; all rows when there are fewer.
        own: number of a row to leave out, or None.

    Returns:
        A list of `Found`, best first; the first of equals first.

    Raises:
        ValueError: for embeddings that are not finite numbers.
    """
    rows, similarities, start = np.empty(0, np.int64), np.empty(0, np.float32), 0
    length = np.linalg.norm(query)
    for block in table.blocks(["embeddings"]):
        x = block["embeddings"]
        similarity = x @ query / np.maximum(np.linalg.norm(x, axis=1) * length, 1e-12)
        if not np.isfinite(similarity).all():
            raise ValueError("The embeddings are not all finite numbers. Embed anew.")
        numbers = np.arange(start, start + len(x))
        others = numbers != own
        rows = np.concatenate([rows, numbers[others]])
        similarities = np.concatenate([similarities, similarity[others]])
        order = np.argsort(-similarities, kind="stable")[:top]
        rows, similarities, start = rows[order], similarities[order], start + len(x)
    return [Found(*pair) for pair in zip(rows.tolist(), similarities.tolist(), strict=True)]


def middle_of(table, cluster, clusters=None):
    """The mean of a cluster's embeddings, each of length 1.

    Args:
        table: see above.
        cluster: integer.
        clusters: `(n,)` integers, the cluster of each row, or None for those of the table.

    Returns:
        float32 `(dim,)`.

    Raises:
        ValueError: for a cluster without an image.
    """
    total, count, start, seen = np.zeros(table.dim), 0, 0, []
    for block in table.blocks(["embeddings", "clusters"]):
        x, own = block["embeddings"], block["clusters"]
        if clusters is not None:
            own = clusters[start : start + len(x)]
        start += len(x)
        if len(own):
            seen += [own.min(), own.max()]
        members = x[own == cluster]
        if len(members):
            total += normalize(members).sum(axis=0, dtype=np.float64)
            count += len(members)
    if not count:
        raise ValueError(
            f"No image is in cluster {cluster}: there are clusters {min(seen)} to {max(seen)}."
        )
    return (total / count).astype(np.float32)


def row_of(table, number):
    """The embedding of a row: float32 `(dim,)`."""
    start = 0
    for block in table.blocks(["embeddings"]):
        if number < start + len(block["embeddings"]):
            return block["embeddings"][number - start]
        start += len(block["embeddings"])
    raise IndexError(number)


def find_path(table, path):
    """The number of the first row with a path; None where there is none."""
    start = 0
    for block in table.blocks(["paths"]):
        if path in block["paths"]:
            return start + block["paths"].index(path)
        start += len(block["paths"])
    return None


def values_of(table, column, numbers):
    """A column's values of some rows.

    Args:
        table: see above.
        column: its name.
        numbers: of the rows, in any order.

    Returns:
        A dict from a row's number to its value.
    """
    numbers = np.unique(np.asarray(numbers, np.int64))
    found, start = {}, 0
    for block in table.blocks([column]):
        values = block[column]
        ends = np.searchsorted(numbers, (start, start + len(values)))
        found |= {int(i): values[i - start] for i in numbers[slice(*ends)]}
        start += len(values)
        if len(found) == len(numbers):
            break
    return found
