"""Real digits as image files with a file of embeddings, made without an encoder."""

import json
import os
import zipfile

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from cueco_tf.embedding.any_table import Columns
from cueco_tf.embedding.embeddings_file import read_file, write_file
from cueco_tf.embedding.shards import FORMAT, Shard, about
from cueco_tf.embedding.tables import STATE_DTYPE
from cueco_tf.evaluation import normalize


def embeddings_of(images):
    """Pixels around their mean: good enough to sort digits by."""
    x = images.reshape(len(images), -1).astype(np.float32)
    return normalize(x - load_digits().data.mean(axis=0))


def write(path, paths, embeddings, sha256="a" * 64, clusters=None):
    """A file as `python -m pipelines.embed` writes it."""
    count = len(paths)
    np.savez(
        path,
        paths_utf8=np.frombuffer(b"\0".join(map(os.fsencode, paths)), np.uint8),
        embeddings=embeddings,
        clusters=np.zeros(count, np.int64) if clusters is None else clusters,
        similarities=np.ones(count, np.float32),
    )
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = json.dumps({"export": "exported/digits", "sha256": sha256}).encode()
    return path


def write_parts(folder, file, count=3):
    """The rows of such a file as parts."""
    columns, origin = read_file(file)
    rows = len(columns["paths"])
    states = np.zeros(rows, STATE_DTYPE)
    columns |= {name: states[name] for name in states.dtype.names}
    whole = {"format": FORMAT, "sha256": "", "list": "", "total": rows, "reading": None}
    folder.mkdir()
    for i in range(count):
        shard = Shard(i, count)
        share = {name: values[slice(*shard.rows(rows))] for name, values in columns.items()}
        write_file(shard.path(folder), Columns(share, origin), origin, about(shard, whole, []))
    return folder


def make(folder, count=300):
    """Image files below `folder/photos`, a folder a class, and `folder/photos.npz`."""
    images, labels = load_digits().images[:count], load_digits().target[:count]
    paths = []
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / "photos" / str(label) / f"zahl_{i:03d}_ä.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 15).astype(np.uint8)).resize((16, 16)).save(path)
        paths.append(str(path))
    write(folder / "photos.npz", paths, embeddings_of(images))
    return folder / "photos.npz"
