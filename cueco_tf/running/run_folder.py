"""The run folder: what a training run writes, and where.

RUN/config.json            every setting, resolved against the data set
RUN/start.keras            the encoder as the run began, where settings alone do not make it again
RUN/metrics.csv            a row an epoch
RUN/logs/                  the same for TensorBoard
RUN/checkpoints/           the newest two full states
RUN/snapshots/000.keras    images -> embedding h and projection z at 0, 50 and 100 %; that in the
                           middle on GPUs up to 19 steps late
RUN/encoder.keras          images -> embedding h, Keras's own layers only
RUN/clusters.npz           the clusters for this encoder: learnt ones settled, or k-means of z
RUN/summary.json           final scores
RUN/evaluation.json        what `pipelines.evaluate` found
"""

import csv
import dataclasses
import json
from pathlib import Path

from cueco_tf.evaluation.table import BASELINES, SCORES
from cueco_tf.ownership import LOCK, own
from cueco_tf.running import checkpoints
from cueco_tf.settings import config_file
from cueco_tf.storage import remove_partials, write_atomically

START = "start.keras"
QUALITY = ("effective_rank", "silhouette")  # columns that runs of early 0.2.0 are without


def columns(config):
    """The columns of a run's metrics.csv, which depend on its method."""
    first, last = ("epoch", "loss"), ("images_per_second", "knn_top1", "online_top1")
    own = config.settings.columns
    return (*first, *config.settings.terms, "learning_rate", *own, *last, *QUALITY)


class RunError(ValueError):
    """A folder that cannot serve as the wanted run; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Names and small files of one run."""

    path: Path

    @property
    def config(self):
        """Path of every setting, resolved."""
        return self.path / "config.json"

    @property
    def metrics(self):
        """Path of the table of epochs."""
        return self.path / "metrics.csv"

    @property
    def logs(self):
        """Path of the folder for TensorBoard."""
        return self.path / "logs"

    @property
    def checkpoints(self):
        """Path of the folder of full states."""
        return self.path / "checkpoints"

    @property
    def encoder(self):
        """Path of the trained encoder."""
        return self.path / "encoder.keras"

    @property
    def clusters(self):
        """Path of the clusters of a method that learns none."""
        return self.path / "clusters.npz"

    @property
    def summary(self):
        """Path of the final scores."""
        return self.path / "summary.json"

    @property
    def evaluation(self):
        """Path of what `pipelines.evaluate` found."""
        return self.path / "evaluation.json"

    def snapshot(self, percent):
        """Path of the networks after this share of training: 0, 50 or 100 percent."""
        return self.path / "snapshots" / f"{percent:03d}.keras"

    def own(self):
        """Owns the run until a `with` block ends: see `ownership.own`.

        Who comes while the one before saves and ends, as a job does that is requeued, waits for it.
        """
        return own(self.path, inside=True, waits_for=lambda holder: holder.leaving)

    def check_unused(self):
        """Raises RunError when the folder holds something already, but for its owner's lock and for
        what a process left that was killed before it had written the configuration."""
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file. Choose a folder for --run-dir.")
        found = {path.name for path in self.path.iterdir()} if self.path.exists() else set()
        left = {LOCK, START} if LOCK in found else set()
        if any(not name.startswith(".partial-") for name in found - left):
            raise RunError(
                f"{self.path} exists and is not empty. Choose another --run-dir, or add --resume "
                f"to go on with the run in it."
            )

    def check_begun(self):
        """Raises RunError when the run has no state that a model could be loaded from."""
        if not checkpoints.find(self.checkpoints):
            raise RunError(f"{self.path} has no checkpoint yet: train it first.")

    def create(self, config):
        """Makes the folder and writes the configuration. Its owner alone may, as with all that is
        written here but for `evaluation.json`."""
        self.check_unused()
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.config, lambda path: config_file.save(config, path))
        self.mend()

    def check_same(self, saved, wanted):
        """Raises RunError, listing the fields, when two configurations differ."""
        differing = "; ".join(
            f"{name}: the run has {own!r}, received {other!r}"
            for name, (own, other) in saved.differences(wanted).items()
        )
        if differing:
            raise RunError(
                f"The run in {self.path} was started with another configuration ({differing}). "
                f"Resume it without these options, or choose another --run-dir."
            )

    def check_holds(self, config):
        """Raises RunError when the folder holds a run of another configuration than this one,
        which need not be resolved."""
        if self.config.exists():
            saved = self.read_config()
            names = ("train_images", "image_size", "num_classes", "channels", "depth")
            wanted = config.resolve(**{name: getattr(saved, name) for name in names})
            # What was not asked for depends on the files and the devices of the run.
            free = ("fingerprint", "precision", "jit", "start")
            known = {name: getattr(saved, name) for name in free if getattr(wanted, name) is None}
            self.check_same(saved, dataclasses.replace(wanted, **known))

    def read_config(self):
        """The run's configuration.

        Raises:
            RunError: when the folder holds none, or none that can be read.
        """
        if not self.config.is_file():
            raise RunError(f"{self.path} is not a run folder: it holds no config.json.")
        try:
            return config_file.load(self.config)
        except (ValueError, TypeError, AttributeError) as error:
            raise RunError(f"{self.config} cannot be read: {error}") from error

    def read_metrics(self, config):
        """The rows of metrics.csv: dicts of numbers by column, None for an empty cell.

        Args:
            config: the run's `RunConfig`.

        Raises:
            RunError: for a file that is damaged.
        """
        if not self.metrics.exists():
            return []
        try:
            with open(self.metrics, newline="") as file:
                reader = csv.DictReader(file)
                rows = [
                    {name: float(cell) if cell else None for name, cell in row.items()}
                    for row in reader
                ]
        except (ValueError, TypeError, csv.Error) as error:
            raise RunError(f"{self.metrics} cannot be read: {error}") from error
        names = columns(config)
        if set(reader.fieldnames or ()) | set(QUALITY) != set(names):
            raise RunError(f"{self.metrics} should have the columns {', '.join(names)}.")
        rows = [{name: row.get(name) for name in names} for row in rows]
        epochs = [row["epoch"] for row in rows]
        if None in epochs or epochs != sorted(set(epochs)):
            raise RunError(f"{self.metrics} cannot be read: its epochs should rise.")
        return rows

    def write_metrics(self, rows, config):
        """Writes all rows anew, so that a row is never half there and never there twice.

        Args:
            rows: dicts of numbers by column; what is missing becomes an empty cell.
            config: the run's `RunConfig`.
        """

        def write(path):
            with open(path, "w", newline="") as file:
                writer = csv.DictWriter(file, columns(config), restval="")
                writer.writeheader()
                writer.writerows({**row, "epoch": int(row["epoch"])} for row in rows)

        write_atomically(self.metrics, write)

    def mend(self):
        """Removes what a killed process left half-written, and makes the folders that it had not
        come to."""
        remove_partials(self.path / START)
        for path in (self.config, self.metrics, self.encoder, self.clusters, self.summary):
            remove_partials(path)
        for folder in (self.checkpoints, self.snapshot(0).parent):
            folder.mkdir(exist_ok=True)
            for path in folder.glob(".partial-*"):
                path.unlink()

    def read_summary(self):
        """The final scores, or None while the run is not finished.

        Raises:
            RunError: for a file that is damaged.
        """
        return _read_scores(self.summary)

    def read_evaluation(self):
        """What `pipelines.evaluate` found, or None where it has not been run.

        Raises:
            RunError: for a file that is damaged.
        """
        return _read_scores(self.evaluation)

    def write_summary(self, summary):
        """Writes summary.json, the sign of a finished run."""
        text = json.dumps(summary, indent=2) + "\n"
        write_atomically(self.summary, lambda path: path.write_text(text))


def _read_scores(path):
    if not path.exists():
        return None
    try:
        scores = json.loads(path.read_text())
        named = [scores.get(prefix + name) for prefix in ("", *BASELINES) for name in SCORES]
    except (ValueError, AttributeError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    if not all(value is None or isinstance(value, (int, float)) for value in named):
        raise RunError(f"{path} cannot be read: its scores should be numbers.")
    return scores
