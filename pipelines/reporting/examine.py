"""From a run to what the report shows of it: the networks' part; `findings` has the arithmetic."""

import keras
from sklearn.cluster import KMeans

from cueco_tf.clustering.describe import describe
from cueco_tf.evaluation.table import method_of
from cueco_tf.evaluation.vectors import normalize
from cueco_tf.methods.inference import inference_network
from cueco_tf.process import seeded
from cueco_tf.progress import every, tqdm
from cueco_tf.running.clusters import cluster_count
from cueco_tf.running.run_folder import RunError
from pipelines.command import reason
from pipelines.reporting.findings import (
    Findings,
    choose_queries,
    look,
    nearest_neighbours,
)
from pipelines.reporting.similarity import pair_similarity

_PAIRED = 5_000  # images whose pairs are compared, or ten for each cluster if that is more
_PAIRED_EACH = 10
_MOMENTS = (0, 50, 100)  # percent of training


def examine(folder, run, split, names, class_names, evaluation):
    """Computes all that the report shows.

    Args:
        folder: `RunFolder`.
        run: `Run`.
        split: the split of images to look at.
        names: what its images are called, strings.
        class_names: tuple, or None without labels.
        evaluation: a dict of scores, or None to take those of the run's summary.

    Returns:
        `Findings`.
    """
    config, seed = run.config, run.config.seed
    labels = None if class_names is None else split.labels
    own = run.clusters
    wanted = cluster_count(config.num_classes, config.train_images)
    num_clusters = wanted if own is None else len(own.directions)
    paired = split.sample(max(_PAIRED, _PAIRED_EACH * num_clusters), seed)
    similarity = _similarities(folder, paired, num_clusters, seed)
    h, z = embed(inference_network(run.model), split, "Embedding")

    clusters = None
    if own is not None and own.trained:
        print(f"Assigning {len(z):,} images to {num_clusters:,} clusters ...")
        clusters = describe(z, own.directions)
    print("Finding neighbours, PCA and t-SNE ...")
    looks = look(normalize(h), names, clusters, seed, labels, class_names)
    queries = choose_queries(len(h), labels, seed=seed)
    neighbours, similarities = nearest_neighbours(h, queries)
    return Findings(
        **vars(looks),
        name=folder.path.resolve().name,
        method=method_of(config)[0],
        terms=run.model.terms,
        clusters_are=None if own is None else own.are,
        num_clusters=num_clusters,
        config=config,
        metrics=run.metrics,
        finished=run.summary is not None,
        scores=(run.summary if evaluation is None else evaluation) or {},
        evaluated=evaluation is not None,
        queries=queries,
        neighbours=neighbours,
        neighbour_similarities=similarities,
        similarity=similarity,
        similarity_sample=len(paired),
    )


def _similarities(folder, split, num_clusters, seed):
    """`Similarity` by percent of training, for each snapshot there is."""
    found = {}
    for percent in _MOMENTS:
        path = folder.snapshot(percent)
        if path.exists():
            try:
                with seeded(0):  # as all weights are read, it does not matter
                    network = keras.models.load_model(path, safe_mode=True)
            except Exception as error:  # a damaged file can make Keras raise anything
                raise RunError(f"{path} cannot be read: {reason(error)}") from error
            _, z = embed(network, split, f"Snapshot at {percent} %")
            kmeans = KMeans(min(num_clusters, len(z)), random_state=seed)
            found[percent] = pair_similarity(z, kmeans.fit_predict(z))
    return found


def embed(network, split, title, batch_size=256):
    """Embeddings h and projections z of a split's images, float32 `(n, features)`, `(n, dim)`."""
    print(f"{title}: {len(split):,} images ...")
    steps = -(-len(split) // batch_size)
    interval = every(30.0)  # where nobody watches, a line now and then
    with tqdm(total=steps, unit="batch", mininterval=interval, leave=False) as bar:
        count = keras.callbacks.LambdaCallback(
            on_predict_batch_end=lambda batch, logs: bar.update()
        )
        batches = split.plain_batches(batch_size)
        outputs = network.predict(batches, verbose=0, callbacks=[count])
    return outputs["embedding"], outputs["projection"]
