"""How a step's cost grows with the queue, the clusters and the batch, and what memory it takes.

The encoder is next to nothing here, so that what is left is the head, the losses, the queue and
the clustering. Sizes grow one at a time; an exponent of at most 1 means that the time grows no
faster than the size. Memory, the first k-means (once in a training) and re-seeding (in steps that
find a dead cluster) are measured in a process of their own.
"""

import concurrent.futures
import math
import multiprocessing
import statistics
import time

from cueco_tf.process import import_tensorflow
from pipelines.benchmarking import bare_step
from pipelines.benchmarking.measuring import Findings, alternate, peak_memory

ROUNDS = 5
_IMAGE_SIZE = 8


def add_options(parser):
    """Its part of the command line."""
    for name, sizes, letter in (
        ("queue-sizes", (4096, 16384, 65536), "K"),
        ("cluster-counts", (100, 1000, 10000), "L"),
        ("batch-sizes", (64, 256, 1024), "images"),
    ):
        shown = " ".join(map(str, sizes))
        parser.add_argument(
            f"--{name}",
            type=int,
            nargs="+",
            default=sizes,
            metavar=letter,
            help=f"from small to large (default: {shown})",
        )
    parser.add_argument("--steps", type=int, default=10, help="a measurement (default: 10)")


def measure(options):
    """Times steps of all sizes in turn, then takes the memory of each in its own process."""
    growth = []
    for varied, sizes in _grids(options).items():
        models = {size: _model(*size) for size in sizes}
        sides = {size: _timer(model, size, options.steps) for size, model in models.items()}
        for side in sides.values():
            side()  # builds the graph
        titled = {str(size): side for size, side in sides.items()}
        comparison = alternate(f"{varied}: (K, L, batch)", "ms a step", titled, options.rounds)
        former = None
        for size in sizes:
            milliseconds = statistics.median(comparison.values[str(size)])
            row = {"varied": varied, "K": size[0], "L": size[1], "batch": size[2]}
            row |= {"ms a step": milliseconds, "exponent": None}
            if former is not None:
                ratios = zip(*(comparison.values[str(s)] for s in (former, size)), strict=True)
                ratio = statistics.median(after / before for before, after in ratios)
                row["exponent"] = math.log(ratio) / math.log(_grown(former, size))
            growth.append(row | _alone(size))
            former = size
    return Findings({"steps": options.steps, "hidden_dim": 2048, "dim": 128}, (), {}, tuple(growth))


def _grids(options):
    """`{what varies: [(K, L, batch)]}`; where clusters vary, the queue holds the most of them."""
    queue, clusters, batch = (
        sizes[0] for sizes in (options.queue_sizes, options.cluster_counts, options.batch_sizes)
    )
    long_queue = max(queue, *options.cluster_counts)
    return {
        "queue": [(size, clusters, batch) for size in options.queue_sizes],
        "clusters": [(long_queue, size, batch) for size in options.cluster_counts],
        "batch": [(queue, clusters, size) for size in options.batch_sizes],
    }


def _grown(former, size):
    """By how much the one size that differs has grown."""
    return math.prod(size) / math.prod(former)


def _model(queue_size, num_clusters, _):
    import_tensorflow()
    import keras

    from cueco_tf import CueCo

    inputs = keras.Input((_IMAGE_SIZE, _IMAGE_SIZE, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(inputs)
    encoder = keras.Model(inputs, keras.layers.Dense(32)(keras.layers.Flatten()(x)))
    model = CueCo(
        encoder,
        num_clusters,
        queue_size,
        refresh_steps=0,
        warmup_steps=0,
        total_steps=1_000_000,
    )
    model.compile(keras.optimizers.SGD(1e-3, momentum=0.9))
    bare_step.start_clusters(model)
    return model


def _timer(model, size, steps):
    batches = bare_step.endless(bare_step.random_views(size[2], _IMAGE_SIZE))
    return lambda: 1e3 * size[2] / bare_step.rate(model, batches, steps, size[2])


def _alone(size):
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        return pool.submit(_memory_and_rare_work, size).result()


def _memory_and_rare_work(size):
    """In a fresh process: the most memory that steps take beyond what the libraries do, and what
    the work takes that few steps do."""
    import tensorflow as tf

    from cueco_tf.parts import clusters

    bare_step.rate(_model(2, 2, 2), bare_step.endless(bare_step.random_views(2, 8)), 2, 2)
    before = peak_memory()
    model = _model(*size)
    bare_step.rate(
        model, bare_step.endless(bare_step.random_views(size[2], _IMAGE_SIZE)), 2, size[2]
    )
    memory = peak_memory() - before

    queue, num_clusters = tf.constant(model.memory.queue.value), model.num_clusters
    trials = clusters.seeding_trials(num_clusters)
    uniforms = tf.random.stateless_uniform((num_clusters, trials), (0, 0))
    state = [w.value for w in (model.clusters.centroids, model.clusters.variances)]
    usage = tf.one_hot(0, num_clusters)  # all but one are dead
    draws = tf.random.stateless_uniform((len(queue),), (0, 1))
    kmeans = tf.function(lambda: clusters.spherical_kmeans(queue, uniforms)[0])
    reseed = tf.function(lambda: clusters.reseed(*state, usage, queue, draws)[0])
    seconds = []
    for work in (kmeans, reseed):
        work.get_concrete_function()
        start = time.monotonic()
        work().numpy()
        seconds.append(time.monotonic() - start)
    return {"MiB": memory, "first k-means, s": seconds[0], "re-seeding, ms": 1e3 * seconds[1]}
