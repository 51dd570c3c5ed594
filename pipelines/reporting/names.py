"""What images are called on a page: relative to where they all come from."""

import os
from pathlib import Path
from urllib.parse import quote

from cueco_tf.embedding.embeddings_file import printable


def of_split(split, dataset, indices):
    """What images of a run's training split are called: their paths, or DATASET/train#ROW.

    Args:
        split: a split of `cueco_tf.data`.
        dataset: its name.
        indices: of the images.
    """
    paths = getattr(split, "paths", None)
    return [f"{dataset}/train#{i}" if paths is None else str(paths[i]) for i in indices]


def shorten(names):
    """The part that all names begin with, and the rest of each.

    Args:
        names: strings, paths of files or SOURCE#ROW.

    Returns:
        `(root, shorts)`: a string, the folder, with its `/`, or the source of all rows, and a list
        of strings that any page or terminal takes.
    """
    names = [printable(str(name)) for name in names]
    first, last = min(names), max(names)
    pairs = enumerate(zip(first, last, strict=False))
    common = first[: next((i for i, (one, other) in pairs if one != other), len(first))]
    root = common[: max(common.rfind("/") + 1, common.find("#"))]
    return root, [name[len(root) :] for name in names]


def caption(name, most=20):
    """What stands below a small image: the file's name, without its middle where it is long, for
    names that begin alike differ at their ends.

    Args:
        name: string, with folders or without.
        most: integer, letters. Defaults to 20, which a few lines below the smallest image hold.
    """
    name = name.rpartition("/")[2]
    if len(name) <= most:
        return name
    return f"{name[: most // 3]}\N{HORIZONTAL ELLIPSIS}{name[most // 3 + 1 - most :]}"


def link_to(root, shorts, folder):
    """Where a page in a folder finds the originals: the start of their addresses, or None where
    they are no files (any more).

    Args:
        root: what `shorten` returned.
        shorts: the same.
        folder: path of the folder that the page will lie in.
    """
    if not shorts or not Path(root + shorts[0]).is_file():
        return None
    return quote(os.path.relpath(root or ".", folder)) + "/"


def digits_that_differ(values, least=2, most=6):
    """Numbers as text, all with as few decimals as tell those apart that differ.

    Args:
        values: floats.
        least: integer, defaults to 2.
        most: integer, defaults to 6.

    Returns:
        A list of strings.
    """
    values = [float(value) for value in values]
    different = len({round(value, most) for value in values})
    for decimals in range(least, most + 1):
        texts = [f"{value:.{decimals}f}" for value in values]
        if len(set(texts)) >= different:
            break
    return texts
