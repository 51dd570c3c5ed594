"""Scores a trained run, or any features, by the paper's protocols."""

import math
import shlex
import sys
from pathlib import Path

import numpy as np

from cueco_tf.data.presence import check_there
from cueco_tf.evaluation.table import BASELINES, score_table
from cueco_tf.ownership import own
from cueco_tf.process import command, fail, import_tensorflow, suggest, twin
from cueco_tf.running.checkpoints import CheckpointError
from cueco_tf.running.run_folder import RunFolder
from cueco_tf.settings.choices import LABELS, dataset_named
from cueco_tf.settings.fields import ConfigError
from cueco_tf.settings.run import RunConfig
from cueco_tf.storage import remove_partials
from pipelines.command import (
    add_data_dir,
    check_file,
    check_seed,
    options_of,
    parser_of,
    write_json,
)

_DESCRIPTION = """\
Scores a run's frozen encoder on a labelled data set, prints a table and writes RUN/evaluation.json.

  python -m pipelines.evaluate runs/cifar100
  python -m pipelines.evaluate runs/cifar100 --dataset cifar10      pretrained there, probed here
  python -m pipelines.evaluate runs/cifar100 --protocol sgd         the field's linear evaluation
  python -m pipelines.evaluate --embeddings F.npz --output F.json   features of any model

k-NN     cosine similarity, 20 and 200 neighbours that vote with weight exp(similarity / 0.07)
linear   fast: multinomial logistic regression on cached features; its regularisation is chosen
         on a held-out tenth of the training split
         sgd:  a linear layer by SGD (momentum 0.9, 100 epochs, rate / 10 after 60 and 80, no
         weight decay) on resized crops and flips; a GPU helps
online   the probe that was trained beside the encoder; only on the run's own data set
NMI, ACC, ARI   k-means on the L2-normalised test embeddings, k = number of classes, the mean of
         ten, each the best of ten starts; the same for the projections z, which some papers
         cluster; and for the run's own centroids, where its method has such, in the table only
         where they are as many as the classes

Raw pixels and a randomly initialised encoder are scored beside the run: a learned encoder has to
beat both. So is the encoder as the run began, where that was with known weights. Scores in the file
are fractions.
"""

_EPILOG = """\
F.npz holds the arrays train_x (n, dim), train_y (n,), test_x (m, dim) and test_y (m,).
Exit codes: 0 done, 1 failed, 2 a wrong value, or a run or data set that cannot be used.
"""


class EvaluationError(ValueError):
    """What was given cannot be scored; the message says why."""


def build_parser():
    """The command line."""
    parser = parser_of("evaluate", _DESCRIPTION, _EPILOG)
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run folder")
    parser.add_argument("--embeddings", metavar="FILE.npz", help="score these features instead")
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="default: the run's --eval-dataset or, without one, its own",
    )
    parser.add_argument(
        "--labels",
        choices=LABELS,
        help="of --dataset folder:PATH: whether its sub-folders are classes (default: what it "
        "looks like, which is said)",
    )
    add_data_dir(parser)
    parser.add_argument(
        "--protocol", choices=("fast", "sgd"), default="fast", help="of the linear evaluation"
    )
    parser.add_argument(
        "--epochs", type=int, default=100, metavar="N", help="of --protocol sgd (default: 100)"
    )
    parser.add_argument(
        "--learning-rate",
        type=float,
        default=0.3,
        metavar="X",
        help="of --protocol sgd (default: 0.3)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    parser.add_argument(
        "--no-baselines",
        action="store_true",
        help="leave out raw pixels, the random encoder and the one that the run began with, which "
        "take most of the time",
    )
    parser.add_argument(
        "--output", metavar="FILE.json", help="default: RUN/evaluation.json, written anew"
    )
    return parser


@command
def main(argv=None):
    """Runs the command line and returns the exit code."""
    options = build_parser().parse_args(argv)
    try:
        scores, output = _evaluate(options)
    except (ValueError, CheckpointError, OSError) as error:
        return fail(error)
    except KeyboardInterrupt:
        return fail("stopped; earlier scores are as they were.", 130)
    print(f"\n{score_table(scores)}\n")
    for prefix, title in BASELINES.items():
        if scores.get(f"{prefix}knn_top1", -1) >= scores["knn_top1"]:
            print(f"The encoder's k-NN top-1 does not beat that of the {title}.")
    print(f"Written to {output}")
    if options.run and not options.output:
        suggest(f"python -m pipelines.report {shlex.quote(options.run)}")
    return 0


@twin
def evaluate(run=None, **options):
    """Scores a run, or features of any model, as the command does.

    Args:
        run: path of a run folder, or None with `embeddings=`.
        **options: those of the command by name, such as `dataset`, `protocol`, `no_baselines` or
            `output`.

    Returns:
        The scores, a dict: what is written to RUN/evaluation.json, or to `output`.

    Raises:
        TypeError: for an option that there is not.
        ValueError, CheckpointError, OSError: for what the user has to mend; earlier scores are then
            as they were.
    """
    return _evaluate(options_of(build_parser(), run=run, **options))[0]


def _evaluate(options):
    """Returns the scores and the path that they were written to."""
    if (options.run is None) == (options.embeddings is None):
        raise EvaluationError("Give either a RUN folder or --embeddings FILE.npz.")
    if options.embeddings and (options.protocol != "fast" or options.dataset or options.labels):
        rule = "--protocol sgd, --dataset and --labels are of a RUN"
        raise EvaluationError(f"{rule}: --embeddings holds all that is scored.")
    if options.embeddings and not options.output:
        raise EvaluationError("--embeddings needs --output FILE.json.")
    check_seed(options.seed)
    if options.epochs < 1 or not 0 < options.learning_rate < math.inf:
        raise EvaluationError(
            f"--epochs and --learning-rate should be positive. Received: {options.epochs}, "
            f"{options.learning_rate}"
        )
    output = Path(options.output or RunFolder(Path(options.run)).evaluation)
    if options.output:
        check_file("--output", output)
    task = _task_of_features(options) if options.embeddings else _task_of_run(options)
    with own(output):
        remove_partials(output)
        scores = task()
        write_json(output, scores)
    return scores, output


def _task_of_features(options):
    """What scores a file of features, which is read at once."""
    from cueco_tf.evaluation.feature_file import read_features

    arrays = read_features(options.embeddings)
    return lambda: _score_features(options.embeddings, arrays, options.seed)


def _score_features(path, arrays, seed):
    from cueco_tf.evaluation.features import score_features  # scikit-learn takes a second to import

    train_x, train_y, test_x, test_y = arrays
    return {
        "embeddings": str(path),
        "protocol": "fast",
        "seed": seed,
        "train_samples": len(train_x),
        "test_samples": len(test_x),
        "num_classes": len(np.union1d(train_y, test_y)),
        **score_features(train_x, train_y, test_x, test_y, seed),
    }


def _task_of_run(options):
    """What scores a run, once all that is quickly checked has been."""
    folder = RunFolder(Path(options.run))
    config = folder.read_config()
    dataset = dataset_named(options.dataset or config.eval_dataset or config.dataset)
    _check_dataset(config, dataset, options.labels)
    folder.check_begun()
    check_there(dataset, options.data_dir)
    return lambda: _score_run(folder, config, dataset, options)


def _score_run(folder, config, dataset, options):
    tf = import_tensorflow()

    from cueco_tf import data
    from cueco_tf.data.copies import AUTO, keep_copies
    from cueco_tf.data.decoding import in_one_line
    from cueco_tf.running.loading import load_run
    from pipelines.evaluating.scores import score_run

    run = load_run(folder.path, weights_only=True)
    if run.summary is None:
        print(f"The run is not finished: scoring its state at step {int(run.model.step.numpy())}.")
    if dataset == config.dataset:
        images = data.load_for(config, options.data_dir)
    else:
        how = dict(labels=options.labels, reading=data.reading_of(config))
        images = data.load(dataset, options.data_dir, config.image_size, **how)
    if images.test is None:
        raise EvaluationError(f"{dataset} has no labels. Choose a labelled set with --dataset.")
    try:
        with keep_copies(images, AUTO, trained=False) as images:  # several networks look at each
            return score_run(run, images, options)
    except tf.errors.OpError as error:  # of a network, or of a file that is gone
        raise EvaluationError(in_one_line(error)) from error


def _check_dataset(config, dataset, labels):
    """Raises EvaluationError where a data set cannot be one to score a run on."""
    try:
        RunConfig.for_dataset(dataset, labels=labels)
    except ConfigError as error:
        raise EvaluationError(str(error)) from error
    if dataset == config.dataset and labels not in (None, config.labels):
        raise EvaluationError(f"--labels {labels} is not how the run was trained: leave it out.")
    if dataset == config.dataset and config.num_classes is None:
        raise EvaluationError(
            f"The run's data set, {dataset}, has no labels, so there is nothing to score. Choose a "
            f"labelled one with --dataset."
        )


if __name__ == "__main__":
    sys.exit(main())
