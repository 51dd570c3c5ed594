"""The bare training step: a model, views that are ready, and images a second."""

import time

from cueco_tf.process import import_tensorflow
from cueco_tf.settings.run import RunConfig


def add_options(parser, steps=10):
    """The options of `build` and `rate`."""
    parser.add_argument("--encoder", default="resnet10", help="(default: resnet10)")
    parser.add_argument("--width", type=int, default=16, help="(default: 16)")
    parser.add_argument("--batch-size", type=int, default=256, help="(default: 256)")
    parser.add_argument(
        "--steps", type=int, default=steps, help=f"a measurement (default: {steps})"
    )


def settings(options):
    """The options by name, for the result."""
    names = ("encoder", "width", "batch_size", "steps")
    return {name: getattr(options, name) for name in names}


def configure(options, dataset="cifar100", method="cueco", **changes):
    """The configuration of `cueco_tf.train` on these devices, but that k-means never makes CueCo's
    clusters anew: it comes once in many steps, so it would fall into some measurements and not
    into others.

    Raises:
        ConfigError: for options out of range.
    """
    config = RunConfig.for_dataset(
        dataset,
        method,
        encoder=options.encoder,
        width=options.width,
        batch_size=options.batch_size,
        **({"refresh_steps": 0} if method == "cueco" else {}) | changes,
    )
    import_tensorflow()
    from cueco_tf.methods.building import fit_to_devices

    return fit_to_devices(config)


def build(options, **changes):
    """A model for 32x32 images, of the same configuration.

    Raises:
        ConfigError: for options out of range.
    """
    from cueco_tf.methods.building import build_model

    return build_model(configure(options, **changes).resolve(50_000, 32, 100))


def with_clusters(options, **sizes):
    """A `CueCo` whose clusters have started, and whose every measurement holds one k-means."""
    # Without a warm-up, in which k-means would wait.
    model = build(options, **sizes, refresh_steps=options.steps, warmup_epochs=0.0)
    start_clusters(model)
    return model


def random_views(batch_size, image_size=32):
    """Two views of a batch: float32 `(batch, size, size, 3)` arrays, the second a noisy copy."""
    import numpy as np

    rng = np.random.default_rng(0)
    view = rng.uniform(0, 255, (batch_size, image_size, image_size, 3)).astype(np.float32)
    return view, np.clip(view + rng.normal(0, 30, view.shape), 0, 255).astype(np.float32)


def random_images(batch_size, image_size=32):
    """Images as a data set holds them: uint8 `(n, size, size, 3)`, as many whole batches as 50,000
    images have, so that no smaller one has to be compiled within a measurement."""
    import numpy as np

    shape = (max(50_000 // batch_size, 1) * batch_size, image_size, image_size, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def endless(views):
    """The same batch again and again, as `fit` takes it."""
    import numpy as np
    import tensorflow as tf

    return tf.data.Dataset.from_tensors((views, np.zeros(len(views[0]), np.int32))).repeat()


def start_clusters(model):
    """Fills the queue and starts the clusters, so that a step does all of its work."""
    import numpy as np

    queue, clusters = model.memory.queue, model.clusters
    rng = np.random.default_rng(0)
    keys = rng.normal(size=queue.shape).astype(np.float32)
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    queue.assign(keys)
    clusters.centroids.assign(keys[: model.num_clusters])
    clusters.usage.assign(np.full(model.num_clusters, 1 / model.num_clusters, np.float32))


def compare_losses(model, views, other, tolerance):
    """Sees to it that another library's step does the same work.

    Args:
        model: a `CueCo` whose clusters have started.
        views: two float32 `(n, height, width, 3)` arrays.
        other: a `TorchCueCo` of its weights and these views.
        tolerance: float > 0, relative.

    Returns:
        The first losses of both, for the facts.

    Raises:
        ValueError: where they differ by more.
    """
    from keras import ops

    from cueco_tf.parts.clusters import normalize

    queries = normalize(model.head(model.encoder(views[0], training=True), training=True))
    keys = normalize(model.key_head(model.key_encoder(views[1])))
    terms = model.loss_terms(queries, keys, model.clusters.assign(keys))
    found = {}
    for name, term, theirs in zip(model.terms, terms, other.first_losses(), strict=False):
        own = float(ops.mean(term))
        found |= {f"first {name}": own, f"first {name} in PyTorch": theirs}
        if abs(own - theirs) > tolerance * abs(own):
            raise ValueError(f"The two sides compute different losses: {found}.")
    return found


def rate(model, source, steps, batch_size):
    """Images a second of `fit` over `steps` steps.

    Those up to the host's first look do not count: they fill the pipeline and may build the graph.
    The clock is read once the device is done with the steps.

    Args:
        model: a compiled model.
        source: batches as `fit` takes them, or a uint8 array of images.
        steps: integer >= 1.
        batch_size: integer >= 1.
    """
    import keras
    import numpy as np

    total, times = steps + model.steps_per_execution, []

    def look(batch, logs):
        if not times or batch + 1 == total:
            times.append((int(model.step.numpy()), time.monotonic()))

    clock = keras.callbacks.LambdaCallback(on_train_batch_end=look)
    size = batch_size if isinstance(source, np.ndarray) else None
    model.fit(source, batch_size=size, steps_per_epoch=total, verbose=0, callbacks=[clock])
    (first, start), (last, end) = times
    return (last - first) * batch_size / (end - start)
