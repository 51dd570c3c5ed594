"""The study of docs/results/head.md: clustering heads beside k-means on a run's frozen features.

    python docs/results/head.py RUN --dataset digits --rows all
    python docs/results/head.py RUN --dataset cifar100 --methods kmeans scan --seeds 0 1 2

Prints a row of a table for each method and seed. The features are made once and kept as a file.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from cueco_tf.clustering import head
from cueco_tf.evaluation import clustering_scores, kmeans_scores
from cueco_tf.evaluation.vectors import normalize

HEADS, STEPS, BATCH, NEIGHBOURS = 20, 1000, 512, 20  # of the objectives that were not taken


def features_of(run, dataset, rows):
    """Features h and labels of the test images of a set, or of all, by the encoder of a run."""
    kept = Path(f"{run}-{dataset.replace(':', '-').replace('/', '-')}-{rows}.npz")
    if not kept.exists():
        from cueco_tf import data, load_encoder

        encoder = load_encoder(run)
        images = data.load(dataset, image_size=encoder.input_shape[1])
        splits = [images.test] if rows == "test" else [images.train, images.test]
        x = [encoder.predict(split.plain_batches(), verbose=0) for split in splits]
        y = [np.asarray(split.labels) for split in splits]
        np.savez(kept, x=np.concatenate(x), y=np.concatenate(y))
    with np.load(kept, allow_pickle=False) as file:
        return file["x"], file["y"]


def imbalanced(x, y, smallest):
    """Rows of which the classes have unlike shares: from all of the first to `smallest` of the
    last, in a geometric row."""
    rng = np.random.default_rng(0)
    classes = np.unique(y)
    shares = smallest ** (np.arange(len(classes)) / (len(classes) - 1))
    keep = []
    for which, share in zip(classes, shares, strict=True):
        of = rng.permutation(np.flatnonzero(y == which))
        keep.append(of[: max(1, round(share * len(of)))])
    keep = np.sort(np.concatenate(keep))
    return x[keep], y[keep]


def scan(x, count, seed):
    """The head that is in the package."""
    return head.fit_head(x, count, seed)(x)[0]


def tree(x, count, seed):
    """The tree of `pipelines.clusters`: 400 k-means clusters, merged by Ward's criterion."""
    from cueco_tf.clustering.tree import grow

    x = normalize(x)
    grown = grow(x, seed)
    return grown.cut(count)[grown.leaf_of(x)]


def temi(x, count, seed, beta=0.6, temperature=1.0, momentum=0.9, rate=0.01):
    """TEMI (https://arxiv.org/abs/2303.17896): pointwise mutual information with a teacher,
    weighted by how well teachers agree. A linear head on standardised features; of the teacher's
    momenta 0.9, 0.99, 0.996, temperatures 0.1, 0.3, 1 and beta 0.6 and 1 the best on the digits."""
    rng = np.random.default_rng(seed)
    x, near = _prepared(x)
    dim = x.shape[1]
    student = rng.normal(0, 0.1 / np.sqrt(dim), (HEADS, dim, count)).astype(np.float32)
    teacher, use = student.copy(), np.full((HEADS, 1, count), 1 / count, np.float32)
    moment = np.zeros_like(student), np.zeros_like(student)
    for step in range(STEPS):
        i, pair = _batch(x, near, rng)
        p = head._softmax(pair @ student / temperature)  # (heads, 2 batch, K)
        t = head._softmax(pair @ teacher / temperature)
        use = 0.9 * use + 0.1 * t.mean(axis=1, keepdims=True)
        weight = (t[:, :i] * t[:, i:]).sum(axis=-1).mean(axis=0)
        target = (p * np.concatenate([t[:, i:], t[:, :i]], axis=1)) ** beta / use
        target /= target.sum(axis=-1, keepdims=True)
        slope = np.tile(weight, 2)[:, None] * beta * (p - target) / temperature / (2 * i)
        _step(student, moment, pair.T @ slope, rate, step)
        teacher += (1 - momentum) * (student - teacher)
    p = head._softmax(x @ teacher / temperature)
    agree = [np.log(((p[:, near[:, c]] * p) ** beta / use).sum(axis=-1)).mean(-1) for c in range(5)]
    return p[np.sum(agree, axis=0).argmax()].argmax(axis=1)


def secu(x, count, seed, temperature=0.05, share=0.9, dual_rate=0.1, rate=0.01):
    """SeCu (https://arxiv.org/abs/2310.09998), its centres alone, for the features are frozen: each
    pair is given to one centre, under a least size held by dual variables, and only that centre
    learns from it, by cross-entropy. On centred unit vectors; else as published for CIFAR-10."""
    rng = np.random.default_rng(seed)
    near = _prepared(x)[1]
    x = normalize(normalize(x) - normalize(x).mean(axis=0))
    centres = rng.normal(size=(HEADS, x.shape[1], count)).astype(np.float32)
    moment = np.zeros_like(centres), np.zeros_like(centres)
    dual = np.zeros((HEADS, 1, count), np.float32)
    for step in range(STEPS):
        i, pair = _batch(x, near, rng)
        length = np.linalg.norm(centres, axis=1, keepdims=True)
        unit = centres / length
        cosine = pair @ unit
        chosen = ((cosine[:, :i] + cosine[:, i:]) / 2 + dual).argmax(axis=-1)
        chosen = np.eye(count, dtype=np.float32)[chosen]
        dual += dual_rate * (share / count - chosen.mean(axis=1, keepdims=True))
        np.maximum(dual, 0, out=dual)
        p = head._softmax(cosine / temperature)
        slope = pair.T @ (np.tile(chosen, (1, 2, 1)) * (p - 1) / temperature / (2 * i))
        slope = (slope - unit * (slope * unit).sum(axis=1, keepdims=True)) / length
        _step(centres, moment, slope, rate, step)
    cosine = x @ (centres / np.linalg.norm(centres, axis=1, keepdims=True))
    p = head._softmax(cosine / temperature)
    loss = -np.log(p.max(axis=-1)).mean(axis=-1)
    return p[loss.argmin()].argmax(axis=1)


def _prepared(x):
    x = normalize(x)
    near = head._neighbours(x, max(2, len(x) // (3 * NEIGHBOURS)))  # 20 of them
    return (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-6), near


def _batch(x, near, rng):
    rows = rng.permutation(len(x))[:BATCH]
    others = near[rows, rng.integers(near.shape[1], size=len(rows))]
    return len(rows), x[np.concatenate([rows, others])]


def _step(weight, moment, slope, rate, step):
    head._adam(weight, moment, slope, rate * (1 + np.cos(np.pi * step / STEPS)) / 2, step + 1)


def main():
    """Prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--rows", choices=("test", "all"), default="test")
    parser.add_argument("--methods", nargs="+", default=["kmeans", "scan"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--smallest", type=float, help="share kept of the last class")
    options = parser.parse_args()
    x, y = features_of(options.run, options.dataset, options.rows)
    if options.smallest:
        x, y = imbalanced(x, y, options.smallest)
    count = len(np.unique(y))
    for method in options.methods:
        for seed in options.seeds[:1] if method == "kmeans" else options.seeds:
            start, busy = time.perf_counter(), time.process_time()
            if method == "kmeans":
                scores = kmeans_scores(x, y, count, seed)
            else:
                with threadpool_limits(1):
                    scores = clustering_scores(y, globals()[method](x, count, seed))
            took = f"{time.perf_counter() - start:.0f} | {time.process_time() - busy:.0f}"
            cells = " | ".join(f"{100 * scores[name]:.1f}" for name in ("nmi", "acc", "ari"))
            print(f"| {len(x)} x {count} | {method} | {seed} | {cells} | {took} |", flush=True)


if __name__ == "__main__":
    main()
