"""The end of a run: what it leaves, and how well it did."""

import shlex

from cueco_tf import data
from cueco_tf.evaluation import networks as scoring
from cueco_tf.evaluation.table import SCORES, method_of, score_table
from cueco_tf.methods.inference import save_network
from cueco_tf.parts.batch_norm import to_stock_layers
from cueco_tf.process import suggest
from cueco_tf.running.clusters import in_words, make_clusters
from cueco_tf.running.run_folder import QUALITY

_SCORED_TRAIN, _SCORED_TEST = 50_000, 10_000
# Raw pixels are scored beside the features where that takes seconds.
_RAW_LIMIT = 5_000_000  # numbers in the training images
_SUMMARISED = ("loss", "usage_entropy", "dead_clusters", *QUALITY)  # of the last epoch


def finish(config, images, scored, model, folder):
    """Saves the encoder and the clusters, scores them and prints the table.

    Args:
        config: the run's, resolved.
        images: `ImageSet` that it was trained on.
        scored: `ImageSet` to score it on, such as the same.
        model: its method, trained.
        folder: `RunFolder`.
    """
    encoder = to_stock_layers(model.encoder)
    save_network(folder.encoder, encoder)
    clusters = make_clusters(folder, model, images.train, config.seed)
    not_here = ("z_",) if model.directions() is not None else ("z_", "centroid_")
    scores = {name: None for name in SCORES if not name.startswith(not_here)}
    if scored.test is not None:
        print("Scoring the frozen features ...")
        splits = (scored.train, _SCORED_TRAIN), (scored.test, _SCORED_TEST)
        train, test = (split.labelled().sample(most) for split, most in splits)
        try:
            scores |= scoring.score_clusters(model, test)
            scores |= scoring.score_network(encoder, train, test, config.seed)
            if isinstance(train, data.ArraySplit) and scored.train.images.size <= _RAW_LIMIT:
                pixels = scoring.pixel_network(config.image_size, config.channels)
                raw = scoring.score_network(pixels, train, test, config.seed)
                scores |= {f"raw_{name}": value for name, value in raw.items()}
        except ValueError as error:  # too few images, or a single class among them
            print(f"No k-NN, linear and k-means scores: {error}")
    last = folder.read_metrics(config)[-1]
    summary = scores | {
        "method": method_of(config)[0],
        "dataset": config.dataset,
        **({"eval_dataset": config.eval_dataset} if config.eval_dataset else {}),
        "holdout": config.holdout,
        "epochs": config.epochs,
        "num_classes": scored.num_classes,
        **clusters,
        **{name: last[name] for name in _SUMMARISED if last.get(name) is not None},
        **({"images": images.scan.record()} if images.scan else {}),
    }
    folder.write_summary(summary)
    print(f"\n{score_table(summary)}\n\n{in_words(model, clusters)}")
    print(
        f"Run folder: {folder.path}\n"
        f'Encoder:    cueco_tf.load_encoder("{folder.path}")(images) -> features '
        f"(n, {encoder.output_shape[-1]})"
    )
    suggest_next(folder)


def suggest_next(folder):
    """Prints the commands that a finished run is for.

    Args:
        folder: `RunFolder`.
    """
    run = shlex.quote(str(folder.path))
    suggest(f"python -m pipelines.report {run}", f"python -m pipelines.export {run}")
