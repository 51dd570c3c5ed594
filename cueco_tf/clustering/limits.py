"""What is too much for memory, and for work without faiss."""

import importlib.util

MANY = 1_000_000  # rows: above, commands read embeddings block by block; docs/clusters.md has why
CLUSTERS_WITHOUT_FAISS = 1_000  # scikit-learn takes minutes for so many


class NoFaissError(ValueError):
    """Work that is too much without faiss, which is not installed."""


def has_faiss():
    """Whether faiss is installed."""
    return importlib.util.find_spec("faiss") is not None


def check_clusters(count):
    """Raises NoFaissError where k-means with so many clusters needs faiss and it is not there."""
    if count > CLUSTERS_WITHOUT_FAISS and not has_faiss():
        raise NoFaissError(
            f"k-means with {count:,} clusters needs faiss: pip install cueco-tf[many]. Without it "
            f"there may be {CLUSTERS_WITHOUT_FAISS:,}."
        )


def check_neighbours(rows):
    """Raises NoFaissError where the neighbours of so many rows need faiss and it is not there."""
    if rows > MANY and not has_faiss():
        raise NoFaissError(f"So many images, {rows:,}, need faiss: pip install cueco-tf[many]")
