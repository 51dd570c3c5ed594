"""Training end to end, augmentation included, against the bare step on ready-made views.

What is missing to the bare step's rate is the share of the time that the input takes.
"""

from cueco_tf.data.presence import check_there
from pipelines.benchmarking import bare_step
from pipelines.benchmarking.measuring import Findings, alternate

ROUNDS = 5


def add_options(parser):
    """Its part of the command line."""
    parser.add_argument("--dataset", default="cifar100", help="as in cueco_tf.train")
    parser.add_argument("--data-dir", help="as in cueco_tf.train")
    bare_step.add_options(parser, steps=20)


def measure(options):
    """Runs the comparison.

    Raises:
        ConfigError, DataError, MissingError: for options that are out of range or name no data set.
    """
    check_there(options.dataset, options.data_dir)
    config = bare_step.configure(options, options.dataset)
    from cueco_tf import data
    from cueco_tf.methods.building import build_model

    images = data.load(config.dataset, options.data_dir, config.image_size)
    config = config.resolve(**images.facts())
    model = build_model(config)
    batches = images.train.training_batches(config.batch_size, model.augment, config.seed, 0)
    ready_made = bare_step.endless(next(iter(batches))[0])

    def rate(source):
        return lambda: bare_step.rate(model, source, options.steps, config.batch_size)

    sides = {"bare step": rate(ready_made), "end to end": rate(batches)}
    sides["bare step"]()  # builds the graph
    comparison = alternate("training", "images/s", sides, options.rounds)
    ratio = comparison.as_dict()["sides"]["end to end"]["ratio"]
    return Findings(
        bare_step.settings(options) | {"dataset": options.dataset},
        (comparison,),
        {"share of the input in the time": 1 - ratio},
    )
