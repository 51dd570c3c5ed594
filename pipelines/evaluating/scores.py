"""The scores of a run by the chosen protocol, with its baselines'."""

from cueco_tf.evaluation import networks as scoring
from cueco_tf.evaluation.table import BASELINES, method_of
from cueco_tf.running.baselines import baselines
from cueco_tf.running.run_folder import RunFolder
from cueco_tf.settings.run import RunConfig


def score_run(run, images, options):
    """Scores a run, and what it should beat.

    Args:
        run: `running.loading.Run`.
        images: `ImageSet` with labels.
        options: `protocol`, `seed`, `epochs`, `learning_rate` and `no_baselines` of the command.

    Returns:
        The scores, a dict; those of each baseline begin with its prefix.
    """
    config, dataset = run.config, images.name
    networks = {"": run.model.encoder}
    if not options.no_baselines:
        networks |= baselines(run, RunFolder(run.path))
    scores = {
        "method": method_of(config)[0],
        "dataset": dataset,
        "holdout": config.holdout if dataset == config.dataset else 0.0,
        "protocol": options.protocol,
        "seed": options.seed,
        "train_samples": len(images.train.labelled()),
        "test_samples": len(images.test.labelled()),
        "num_classes": images.num_classes,
    }
    if (own := run.model.directions()) is not None:
        scores["num_clusters"] = own.shape[0]
    for prefix, network in networks.items():
        print(f"Scoring {BASELINES.get(prefix, 'the run')} on {dataset} ...", flush=True)
        found = _score_network(network, images, options)
        scores |= {prefix + name: value for name, value in found.items()}
    scores |= scoring.score_projections(run.model, images.test, images.num_classes, options.seed)
    scores |= scoring.score_clusters(run.model, images.test)
    if dataset != config.dataset:
        scores["online_top1"] = None  # the probe knows other classes
    return scores


def _score_network(network, images, options):
    """The scores of one network by the chosen protocol."""
    fast = options.protocol == "fast"
    found = scoring.score_network(network, images.train, images.test, options.seed, fast)
    if not fast:
        found["linear_top1"] = scoring.train_linear_classifier(
            network,
            images.train,
            images.test,
            images.num_classes,
            epochs=options.epochs,
            learning_rate=options.learning_rate,
            flip=RunConfig.for_dataset(images.name).flip,  # digits have none
            seed=options.seed,
        )
    return found
