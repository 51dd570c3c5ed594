"""The parts of CueCo's training step, each as a function of its own, to be counted or timed."""

from types import SimpleNamespace

from pipelines.benchmarking import bare_step

WHOLE = "whole step"


def parts_of(model, batch_size):
    """The parts of a model's training step, in the order in which it takes them.

    They call the model's own methods, on numbers that are drawn here. They overlap: `forward` is
    within `forward + backward`, and `clusters`, which start them, move them or make them anew,
    hold `k-means`.

    Args:
        model: a compiled `CueCo` for square images whose clusters have started.
        batch_size: integer >= 1.

    Returns:
        `{name: (function, arguments)}`: a function of tensors, and a list of them. The last is
        `WHOLE`: `train_step` with images that lie on the device.
    """
    import tensorflow as tf

    from cueco_tf.data.resident import Resident
    from cueco_tf.parts.clusters import normalize

    view, key_view = map(tf.constant, bare_step.random_views(batch_size, model.image_shape[0]))
    resident = Resident(tf.cast(view, tf.uint8).numpy(), model.augment)
    placed = [tf.range(batch_size, dtype=tf.int64), model.augment.draws(batch_size, (0, 0))]
    vectors = tf.random.stateless_normal((2, batch_size, model.memory.queue.shape[1]), (0, 1))
    queries, keys = normalize(vectors[0]), normalize(vectors[1])

    def forward(view):
        return normalize(model.project(model.encode(view, batch_size)))

    def key_forward(view):
        return normalize(model.keys(view, batch_size))

    def step(index, draws, labels):
        return model.train_step((resident.views(index, draws), labels))

    return {
        "views": (resident.views, placed),
        "key update": (model._follow, []),
        "key forward": (key_forward, [key_view]),
        "forward": (forward, [view]),
        "forward + backward": (_backward(model, forward), [view, queries]),
        "losses": (_losses(model), [queries, keys]),
        "metrics": (_metrics(model), [queries[:, 0]]),
        "optimizer": _optimizer(model),
        "queue": (model.memory.enqueue, [keys]),
        **_clustering(model, keys),
        WHOLE: (step, [*placed, tf.zeros(batch_size, tf.int32)]),
    }


def _losses(model):
    def losses(queries, keys):
        return model.loss_terms(queries, keys, model.clusters.assign(keys))

    return losses


def _clustering(model, keys):
    """What moves the clusters, and the k-means that starts them and makes them anew."""
    import tensorflow as tf

    from cueco_tf.parts.clusters import seeding_trials, spherical_kmeans

    def clusters(keys, assignments, may_start, refresh):
        queue = model.memory.queue.value
        return model.clusters.follow(keys, assignments, queue, may_start, refresh, model.draw)

    def kmeans():
        count = model.num_clusters
        uniforms = model.draw((count, seeding_trials(count)))
        return spherical_kmeans(model.memory.queue.value, uniforms)

    never = tf.constant(False)
    return {
        "clusters": (clusters, [keys, model.clusters.assign(keys), never, never]),
        "k-means": (kmeans, []),
    }


def _backward(model, forward):
    """The gradient of the networks alone, given that of the projections."""
    import tensorflow as tf

    variables = [*model.encoder.trainable_variables, *model.head.trainable_variables]

    def backward(view, gradients):
        with tf.GradientTape() as tape:
            projections = forward(view)
        return tape.gradient(projections, variables, output_gradients=gradients)

    return backward


def _metrics(model):
    """The epoch's means of the losses."""

    def metrics(losses):
        return model._report(losses, (losses,) * len(model.terms), 1.0)

    return metrics


def _optimizer(model):
    """What `minimise` does once the gradient is there."""
    import tensorflow as tf

    gradients = [tf.zeros(variable.shape) for variable in model.trainable_variables]

    def minimise(*gradients):
        tape = SimpleNamespace(gradient=lambda loss, variables: list(gradients))
        return model.minimise(None, tape)

    return minimise, gradients
