"""Real digits as image files with a file of embeddings, made without an encoder."""

import json
import os
import zipfile

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

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
