"""Makes a page to look at a run: `python -m pipelines.report RUN`."""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

from cueco_tf.checkpoints import CheckpointError
from cueco_tf.run_folder import RunError, RunFolder

_DESCRIPTION = """\
Makes a page to look at a run, finished or not: RUN/report/index.html, one file that opens from
disk, and its figures as PNG files beside it.

  python -m pipelines.report runs/digits
  python -m pipelines.report runs/cifar100 --data-dir ~/tensorflow_datasets
  python -m pipelines.report runs/photos --images 20000      a quicker look at a large set

The page shows the scores beside their baselines, what was watched in training, how similar images
are within and between clusters, a map of the embeddings, nearest neighbours, which class is in
which cluster, and each cluster with its nearest images, to be sorted and searched. What needs
labels is left out where there are none.
"""

_EPILOG = """\
The scores are those of `python -m pipelines.evaluate RUN` where it has been run, else those that
training ended with. The same run gives the same report; an older one is replaced once the new one
is complete.

Exit codes: 0 done, 2 a folder, data set or disk that cannot serve, 130 stopped.
"""

MOST_IMAGES = 100_000
MAPPED = 5_000
_PAIRED = 5_000  # images whose pairs are compared, or ten for each cluster if that is more
_PAIRED_EACH = 10
_MOMENTS = (0, 50, 100)


def build_parser():
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.report",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="a run folder of cueco_tf.train")
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help="where TensorFlow Datasets keeps its sets (default: $TFDS_DATA_DIR, else "
        "~/tensorflow_datasets)",
    )
    parser.add_argument(
        "--images",
        type=int,
        default=MOST_IMAGES,
        metavar="N",
        help=f"look at a random N of the training images, 2 to {MOST_IMAGES} (default: "
        f"{MOST_IMAGES})",
    )
    return parser


def main(argv=None):
    """Runs the command line and returns the exit code."""
    parser = build_parser()
    options = parser.parse_args(argv)
    if not 2 <= options.images <= MOST_IMAGES:
        parser.error(f"--images should be in [2, {MOST_IMAGES}]. Received: {options.images}")
    folder = RunFolder(Path(options.run))
    try:
        folder.read_config()
        _check_target(folder)
        evaluation = _read_evaluation(folder)
    except (RunError, OSError) as error:
        return _fail(error)

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf  # only after everything that is cheap has been checked

    from cueco_tf.data import DataError

    try:
        page = make_report(folder, evaluation, options.data_dir, options.images)
    except KeyboardInterrupt:
        print("error: stopped; an earlier report stands as it was.", file=sys.stderr)
        return 130
    except (RunError, DataError, CheckpointError, OSError, tf.errors.OpError) as error:
        return _fail(error)
    print(f"Report: {page} ({page.stat().st_size / 1e6:.1f} MB)")
    return 0


def _fail(error):
    print(f"error: {error}", file=sys.stderr)
    return 2


def _check_target(folder):
    """Raises RunError when the report's place is taken by something that is no report."""
    target = folder.path / "report"
    if target.exists() and not (target / "index.html").is_file():
        raise RunError(f"{target} exists and is no report. Move it out of the way.")


def _read_evaluation(folder):
    """The scores of `pipelines.evaluate`, or None where it has not been run."""
    path = folder.path / "evaluation.json"
    if not path.exists():
        return None
    try:
        scores = json.loads(path.read_text())
    except ValueError as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    if not isinstance(scores, dict):
        raise RunError(f"{path} cannot be read: it should hold an object of scores.")
    return scores


def make_report(folder, evaluation=None, data_dir=None, most_images=MOST_IMAGES):
    """Makes the report of a run and puts it in RUN/report.

    Args:
        folder: `RunFolder`.
        evaluation: a dict of scores, or None to take those of the run's summary.
        data_dir: where TensorFlow Datasets keeps its sets, or None.
        most_images: integer >= 2, how many training images to look at, at most.

    Returns:
        The path of the page.

    Raises:
        RunError, DataError, CheckpointError, OSError: for what the user has to mend; an earlier
            report then stands as it was.
    """
    from cueco_tf import data, runs
    from pipelines.reporting import page, plots

    run = runs.load_run(folder.path)
    images = data.load(run.config.dataset, data_dir, run.config.image_size)
    split = images.train.sample(most_images, run.config.seed)
    partial, target = folder.path / ".report-partial", folder.path / "report"
    shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
    partial.mkdir()
    try:
        findings = examine(folder, run, split, images.class_names, evaluation)
        print("Drawing ...")
        figures = plots.draw(findings)
        for name, figure in figures.items():
            plots.save_png(figure, partial / f"{name}.png")
        (partial / "index.html").write_text(page.build(findings, figures, split), "utf-8")
        _swap(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target / "index.html"


def _swap(new, target):
    """Puts a folder in another's place; a failure leaves the old one there."""
    old = target.with_name(".report-old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    try:
        new.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def examine(folder, run, split, class_names, evaluation):
    """Computes all that the report shows.

    Args:
        folder: `RunFolder`.
        run: `Run`.
        split: the split of images to look at.
        class_names: tuple, or None without labels.
        evaluation: as in `make_report`.

    Returns:
        `Findings`.
    """
    import numpy as np

    from cueco_tf import runs
    from pipelines.reporting import findings as find

    config, seed = run.config, run.config.seed
    labels = None if class_names is None else split.labels
    paired = split.sample(max(_PAIRED, _PAIRED_EACH * config.clusters), seed)
    similarity = _similarities(folder, paired, config.clusters, seed)
    h, z = _embed(runs.inference_network(run.model), split, "Embedding")

    clusters = None
    state = run.model.clusters
    if bool(state.started):
        print(f"Assigning {len(z):,} images to {config.clusters:,} clusters ...")
        centroids, variances = state.centroids.numpy(), state.variances.numpy()
        clusters = find.describe_clusters(z, centroids, variances, labels, config.num_classes)
    queries = find.choose_queries(len(h), labels, seed=seed)
    neighbours, similarities = find.nearest_neighbours(h, queries)
    mapped = np.sort(np.random.default_rng(seed).permutation(len(h))[:MAPPED])
    print(f"Mapping {len(mapped):,} embeddings: PCA and t-SNE ...")
    xy = find.flat_map(h[mapped], seed)

    scores = run.summary if evaluation is None else evaluation
    return find.Findings(
        name=folder.path.resolve().name,
        config=config,
        metrics=run.metrics,
        finished=run.summary is not None,
        scores=scores or {},
        evaluated=evaluation is not None,
        labels=labels,
        class_names=class_names,
        clusters=clusters,
        mapped=mapped,
        xy=xy,
        queries=queries,
        neighbours=neighbours,
        neighbour_similarities=similarities,
        similarity=similarity,
        similarity_sample=len(paired),
        count=len(split),
    )


def _similarities(folder, split, num_clusters, seed):
    """`Similarity` by percent of training, for each snapshot there is."""
    import keras
    from sklearn.cluster import KMeans

    from pipelines.reporting.findings import pair_similarity

    found = {}
    for percent in _MOMENTS:
        path = folder.snapshot(percent)
        if path.exists():
            try:
                network = keras.models.load_model(path, safe_mode=True)
            except Exception as error:  # a damaged file can make Keras raise anything
                raise RunError(f"{path} cannot be read: {error}") from error
            _, z = _embed(network, split, f"Snapshot at {percent} %")
            kmeans = KMeans(min(num_clusters, len(z)), random_state=seed)
            found[percent] = pair_similarity(z, kmeans.fit_predict(z))
    return found


def _embed(network, split, title, batch_size=256):
    """Embeddings h and projections z of a split's images, float32 `(n, features)`, `(n, dim)`."""
    from keras.callbacks import LambdaCallback
    from tqdm import tqdm

    print(f"{title}: {len(split):,} images ...")
    steps = -(-len(split) // batch_size)
    interval = 0.5 if sys.stderr.isatty() else 30.0  # where nobody watches, a line now and then
    with tqdm(total=steps, unit="batch", mininterval=interval, leave=False) as bar:
        count = LambdaCallback(on_predict_batch_end=lambda batch, logs: bar.update())
        batches = split.plain_batches(batch_size)
        outputs = network.predict(batches, verbose=0, callbacks=[count])
    return outputs["embedding"], outputs["projection"]


if __name__ == "__main__":
    sys.exit(main())
