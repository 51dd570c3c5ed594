"""From a run folder to a model."""

import dataclasses
import importlib
from pathlib import Path

import keras

from cueco_tf.methods.building import build_model
from cueco_tf.running import checkpoints
from cueco_tf.running.clusters import Clusters, read_clusters
from cueco_tf.running.run_folder import RunError, RunFolder
from cueco_tf.running.starting import read_start
from cueco_tf.settings.methods import models
from cueco_tf.settings.run import RunConfig


@dataclasses.dataclass(frozen=True)
class Run:
    """A run read back: its `path`, `config`, `model` (the method, such as `CueCo`), `metrics` (a
    dict an epoch), `summary` (None until the run is finished) and `clusters` (None until then,
    unless the method learns its own).

    What the commands do with a run, its methods do, with the same names and defaults.
    """

    path: Path
    config: RunConfig
    model: keras.Model
    metrics: list
    summary: dict | None
    clusters: Clusters | None

    def evaluate(self, **options):
        """Scores the run: `pipelines.evaluate.evaluate`.

        Returns:
            The scores, a dict.
        """
        return importlib.import_module("pipelines.evaluate").evaluate(self.path, **options)

    def report(self, **options):
        """Makes the page to look at it: `pipelines.report.report`.

        Returns:
            The path of the page.
        """
        return importlib.import_module("pipelines.report").report(self.path, **options)

    def export(self, output=None, **options):
        """Exports its encoder: `pipelines.export.export`.

        Returns:
            The path of the export's folder.
        """
        export = importlib.import_module("pipelines.export").export
        return export(self.path, output=output, **options)

    def embed(self, source, export=None, **options):
        """Embeds images with its encoder: `pipelines.embed.embed`.

        Args:
            source: path of a folder, a list or an `.npy` array, or the name of a data set.
            export: path of the run's export, which is made where there is none. Defaults to
                exported/ and the run's name.
            **options: as of `pipelines.embed.embed`.

        Returns:
            The embeddings: `pipelines.results.read_back.Embeddings`.
        """
        export_of = importlib.import_module("pipelines.export").export_of
        folder = export_of(self.path, export, options.get("data_dir"))
        return importlib.import_module("pipelines.embed").embed(folder, source, **options)


def load_run(run_dir, weights_only=False):
    """Reads a run back, finished or not, with the model in its newest state.

    Args:
        run_dir: path of a run folder.
        weights_only: leave the optimizer fresh: enough to use the model, and possible whatever
            the precision it was trained in. Defaults to False.

    Returns:
        `Run`.

    Raises:
        RunError: for a folder that is no run, or has no checkpoint yet.
    """
    folder = RunFolder(Path(run_dir))
    config = folder.read_config()
    begun = read_start(folder, config)
    try:
        model = build_model(config, begun)
    except ValueError as error:  # of what Keras is set to
        raise RunError(f"{folder.path} cannot be loaded: {error}") from error
    if checkpoints.restore(folder.checkpoints, model, weights_only) is None:
        raise RunError(f"{folder.path} has no checkpoint yet: train it first.")
    clusters = read_clusters(folder, model)
    return Run(
        folder.path, config, model, folder.read_metrics(config), folder.read_summary(), clusters
    )


def load_model(path):
    """Opens a file that Keras saved, of a method or of an encoder, with the classes of this package
    known to Keras, which refuses those that have not been imported.

    Args:
        path: of a `.keras` file, which is opened with `safe_mode`.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: for a file that cannot be opened so.
    """
    for module, _ in models():
        importlib.import_module(module)
    return keras.models.load_model(path, safe_mode=True)


def load_encoder(run_dir):
    """The trained encoder of a finished run, in Keras's own layers and float32.

    Args:
        run_dir: path of a run folder.

    Returns:
        A `keras.Model` from images `(n, height, width, 3)`, pixels 0 to 255, to features
        `(n, features)`.

    Raises:
        RunError: for a folder that is no run, or whose run is not finished.
    """
    folder = RunFolder(Path(run_dir))
    folder.read_config()
    if not folder.encoder.is_file():
        raise RunError(
            f"The run in {folder.path} is not finished. Finish it with --resume, or take "
            f"load_run(...).model.encoder as it is now."
        )
    return keras.models.load_model(folder.encoder, safe_mode=True)
