"""Exports a finished run: `python -m pipelines.export runs/digits --output exported/digits`."""

import shlex
import sys
from pathlib import Path

from cueco_tf.clustering.rule import RULE, read_rule
from cueco_tf.data.presence import check_there
from cueco_tf.export.reading import (
    MANIFEST,
    ONNX,
    ExportError,
    ParityError,
    read_export,
)
from cueco_tf.ownership import own
from cueco_tf.process import command, fail, import_tensorflow, suggest, twin
from cueco_tf.running.checkpoints import CheckpointError
from cueco_tf.running.run_folder import RunError, RunFolder
from cueco_tf.storage import new_folder, sha256
from pipelines.command import add_data_dir, options_of, parser_of, reason

_DESCRIPTION = """\
Exports the trained encoder of a finished run, with its head and its clusters, as files that turn
images into embeddings and clusters anywhere.

  python -m pipelines.export runs/digits                         to exported/digits
  python -m pipelines.export runs/digits --precision int8 --output exported/digits-int8
  python -m pipelines.clusters runs/digits --count 7 --output seven
  python -m pipelines.export runs/digits --clusters seven        sorts into those seven

The folder gets encoder.onnx (ONNX Runtime), encoder.keras (Keras), saved_model/ (TensorFlow),
manifest.json and README.md. Input: images (n, height, width, channels), pixels 0 to 255, uint8, or
float32 of a run that kept 16 bits; scaling is inside. Outputs: embedding, cluster,
cluster_similarity. Every file is checked on real images against the trained network before anything
appears under the folder's name.
"""

_EPILOG = """\
Then: python -m pipelines.embed exported/digits PHOTOS --output embeddings.npz
Exit codes: 0 exported, 1 the files do not agree, 2 a wrong value or unusable folder, or no space.
"""


def build_parser():
    """The command line."""
    parser = parser_of("export", _DESCRIPTION, _EPILOG)
    parser.add_argument("run", metavar="RUN", type=Path, help="folder of a finished training run")
    parser.add_argument(
        "--output", metavar="DIR", type=Path, help="default: exported/ and the run's name"
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "float16", "int8"),
        default="float32",
        help="of encoder.onnx (default: float32). float16 halves the file, int8 quarters it; what "
        "that costs is measured and written into the manifest",
    )
    parser.add_argument(
        "--clusters",
        metavar="DIR",
        type=Path,
        help="sort into the clusters that python -m pipelines.clusters RUN --output DIR made "
        "(default: those of the run)",
    )
    add_data_dir(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace an existing export")
    return parser


@command
def main(argv=None):
    """Runs the command line and returns the exit code."""
    options = build_parser().parse_args(argv)
    try:
        output, manifest = _export(options)
    except (ValueError, CheckpointError) as error:
        return fail(error)
    except ParityError as error:
        return fail(error, 1)
    except OSError as error:
        return fail(f"{_output_of(options)} was not written: {reason(error)}")
    _report(manifest, output)
    return 0


@twin
def export(run, **options):
    """Exports the encoder of a finished run, as the command does.

    Args:
        run: path of a run folder.
        **options: those of the command by name: `output`, `precision`, `data_dir`, `overwrite`.

    Returns:
        The path of the export's folder, exported/NAME unless `output` says otherwise.

    Raises:
        TypeError: for an option that there is not.
        ValueError, CheckpointError, OSError: for what the user has to mend.
        ParityError: where the files do not agree with the trained network.
    """
    return _export(options_of(build_parser(), run=run, **options))[0]


@twin
def export_of(run, folder=None, data_dir=None):
    """The path of a run's export, which is made where there is none.

    Args:
        run: path of a finished run.
        folder: path of the export. Defaults to exported/ and the run's name.
        data_dir: where TensorFlow Datasets keeps its sets, or None for its own place.

    Raises:
        ExportError: for the export of another run, or of this one before it was trained anew.
    """
    options = options_of(build_parser(), run=run, output=folder, data_dir=data_dir)
    output = _output_of(options)
    if not (output / MANIFEST).is_file():
        return _export(options)[0]
    _finished_run(RunFolder(options.run))
    made_of = read_export(output).manifest.get("run", {}).get("encoder")
    if made_of != sha256(RunFolder(options.run).encoder):
        raise ExportError(
            f"{output} is not of the encoder in {options.run}. Export that anew, with overwrite, "
            f"or name its export."
        )
    return output


def _output_of(options):
    return Path(options.output or Path("exported", Path(options.run).resolve().name))


def _export(options):
    """Makes the export; returns its folder and manifest."""
    run, output = RunFolder(Path(options.run)), _output_of(options)
    config = _finished_run(run)
    rule = None if options.clusters is None else _rule_of(run, Path(options.clusters))
    _check_output(output, options.overwrite)
    check_there(config.dataset, options.data_dir)
    with own(output):
        tf = import_tensorflow()  # only after everything that is cheap has been checked

        from cueco_tf import data
        from pipelines.exporting.files import fill

        try:
            images = data.load_for(config, options.data_dir)
            with new_folder(output) as folder:
                name = output.name
                return output, fill(folder, run.path, images, options.precision, name, rule)
        except tf.errors.OpError as error:
            raise ExportError(f"{output} was not written: {reason(error)}") from error


def _finished_run(run):
    config = run.read_config()
    if run.read_summary() is None:
        raise RunError(
            f"The run in {run.path} is not finished. Finish it first: "
            f"python -m cueco_tf.train --run-dir {run.path} --resume"
        )
    return config


def _rule_of(run, folder):
    """The rule of a folder of clusters of a run."""
    if not (folder / RULE).is_file():
        raise ExportError(
            f"--clusters should name a folder of clusters of this run, with {RULE} in it. Make "
            f"one: python -m pipelines.clusters {run.path} --output DIR. Received: {folder}"
        )
    rule = read_rule(folder / RULE)
    if rule.encoder != sha256(run.encoder):
        raise ExportError(f"The clusters in {folder} are of another run than {run.path}.")
    return rule


def _check_output(output, overwrite):
    """Raises ExportError where the export would destroy something that it was not told to."""
    if not output.name:
        raise ExportError(f"--output should name a folder to make. Received: {output}")
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not overwrite:
        raise ExportError(f"{output} exists. Choose another --output, or add --overwrite.")
    if output.is_symlink():
        raise ExportError(f"{output} is a link: remove it first.")
    read_export(output)  # anything but an export is never replaced


def _report(manifest, output):
    """Prints what was exported and what it costs."""
    differences = [
        value["embedding_difference"]
        for value in manifest["parity"].values()
        if isinstance(value, dict)
    ]
    size = manifest["files"][ONNX]["bytes"]
    print(f"Parity: embeddings differ by at most {max(differences):.1e}, clusters agree")
    price = manifest["price"]
    if price is not None:
        rates = price["images_per_second"]
        print(
            f"Price of {manifest['precision']}: cosine to float32 {price['cosine_mean']:.5f}, "
            f"{price['bytes']['float32'] / size:.1f} times smaller, "
            f"{rates['reduced'] / rates['float32']:.2f} times the images/s"
        )
    if price is not None and "knn_top1" in price:
        exact, reduced = (price["knn_top1"][name] for name in ("float32", "reduced"))
        print(f"k-NN top-1: {exact:.2%} in float32, {reduced:.2%} in {manifest['precision']}")
    for warning in manifest["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    print(
        f"{output}: images (n, {', '.join(map(str, manifest['input']['shape'][1:]))}) "
        f"{manifest['input']['dtype']} -> "
        f"embedding (n, {manifest['embedding_dim']}), cluster (n,) of {manifest['clusters']}; "
        f"{ONNX} has {size:,} bytes"
    )
    kind, _, images = manifest["run"]["config"]["dataset"].partition(":")
    images = images if kind == "folder" else "PHOTOS"
    suggest(f"python -m pipelines.embed {shlex.quote(str(output))} {shlex.quote(images)}")


if __name__ == "__main__":
    sys.exit(main())
