"""CueCo against the first loss alone: what all of the clustering costs.

The other side is a plain MoCo step without clusters: no assignment, no second and third loss, no
update, usage, re-seeding or k-means. CueCo's clusters have started, and a measurement is as many
steps as lie between two k-means, so that each holds one.
"""

from cueco_tf.settings.methods import CueCoSettings
from pipelines.benchmarking import bare_step
from pipelines.benchmarking.measuring import Findings, alternate

ROUNDS = 9


def add_options(parser):
    """Its part of the command line."""
    bare_step.add_options(parser, steps=CueCoSettings.refresh_steps)
    parser.add_argument("--clusters", type=int, default=100, help="L (default: 100)")
    parser.add_argument("--queue-size", type=int, default=4096, help="K (default: 4096)")


def measure(options):
    """Runs the comparison.

    Raises:
        ConfigError: for options out of range.
    """
    sizes = {"clusters": options.clusters, "queue_size": options.queue_size}
    cueco = bare_step.with_clusters(options, **sizes)
    moco = _without_clusters(cueco)
    batches = bare_step.endless(bare_step.random_views(options.batch_size))

    def rate(model):
        return lambda: bare_step.rate(model, batches, options.steps, options.batch_size)

    sides = {"first loss alone": rate(moco), "CueCo": rate(cueco)}
    for side in sides.values():
        side()  # builds the graph
    comparison = alternate("training step", "images/s", sides, options.rounds)
    ratio = comparison.as_dict()["sides"]["CueCo"]["ratio"]
    return Findings(
        bare_step.settings(options) | sizes,
        (comparison,),
        {"share of the clustering in a step": 1 - ratio},
    )


def _without_clusters(cueco):
    """A model like the given one whose step knows nothing of clusters."""
    import keras

    from cueco_tf import CueCo
    from cueco_tf.methods.base import Outcome
    from cueco_tf.parts import losses
    from cueco_tf.parts.clusters import normalize

    class MoCo(CueCo):
        def losses(self, views, keys, own):
            features = self.encode(views[0], own)
            queries, queue = normalize(self.project(features)), self.memory.queue.value
            loss = losses.info_nce(queries, keys, queue, self.temperature)
            return Outcome(features, (loss, 0.0 * loss, 0.0 * loss))

        def remember(self, keys, outcome):
            self.memory.enqueue(self.gather(keys))
            return {"usage_entropy": 0.0}

    moco = MoCo.from_config(cueco.get_config())
    optimizer = keras.optimizers.SGD.from_config(cueco.optimizer.get_config())
    moco.compile(optimizer=optimizer)
    optimizer.build(moco.trainable_variables)
    return moco
