"""The step of every method against MoCo-v2's: what each costs with the same encoder and batch.

Heads, queues and losses are those of each method's recipe for CIFAR-100, with views that are ready.
CueCo's clusters have started, and a measurement is as many steps as lie between two k-means, so
that each holds one. CueCo sends one view through the trained encoder, as MoCo-v2 does with
`--no-symmetric`; the others both.
"""

from cueco_tf.settings.methods import METHODS, CueCoSettings
from pipelines.benchmarking import bare_step
from pipelines.benchmarking.measuring import Findings, alternate

ROUNDS = 5


def add_options(parser):
    """Its part of the command line."""
    bare_step.add_options(parser, steps=CueCoSettings.refresh_steps)


def measure(options):
    """Runs the comparison.

    Raises:
        ConfigError: for options out of range.
    """
    batches = bare_step.endless(bare_step.random_views(options.batch_size))

    def rate(model):
        return lambda: bare_step.rate(model, batches, options.steps, options.batch_size)

    def build(method):
        if method == "cueco":
            return bare_step.with_clusters(options)
        return bare_step.build(options, method=method)

    names = dict.fromkeys(["moco_v2", *METHODS])  # the first is what all are compared to
    models = {METHODS[name].title: build(name) for name in names}
    models["MoCo-v2, one direction"] = bare_step.build(options, method="moco_v2", symmetric=False)
    sides = {title: rate(model) for title, model in models.items()}
    for side in sides.values():
        side()  # builds the graph
    comparison = alternate("training step", "images/s", sides, options.rounds)
    return Findings(bare_step.settings(options), (comparison,), {})
