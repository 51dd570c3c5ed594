"""Exports a finished run: `python -m pipelines.export runs/digits --output exported/digits`."""

import json
import sys
from pathlib import Path

from cueco_tf.data.presence import check_there
from cueco_tf.evaluation.table import method_of
from cueco_tf.export.manifest import checksums, describe
from cueco_tf.export.reading import (
    KERAS,
    MANIFEST,
    ONNX,
    SAVED_MODEL,
    Encoder,
    ExportError,
    ParityError,
    read_export,
)
from cueco_tf.ownership import own
from cueco_tf.process import command, fail, import_tensorflow
from cueco_tf.running.checkpoints import CheckpointError
from cueco_tf.running.run_folder import RunError, RunFolder
from cueco_tf.storage import new_folder
from pipelines.command import add_data_dir, machine, options_of, parser_of, reason

_DESCRIPTION = """\
Exports the trained encoder of a finished run, with its head and its clusters, as files that turn
images into embeddings and clusters anywhere.

  python -m pipelines.export runs/digits                         to exported/digits
  python -m pipelines.export runs/digits --precision int8 --output exported/digits-int8

The folder gets encoder.onnx (ONNX Runtime), encoder.keras (Keras), saved_model/ (TensorFlow),
manifest.json and README.md. Input: images, uint8 (n, height, width, 3), pixels 0 to 255; scaling is
inside. Outputs: embedding, cluster, cluster_similarity. Every file is checked on real images
against the trained network before anything appears under the folder's name.
"""

_EPILOG = """\
Then: python -m pipelines.embed exported/digits PHOTOS --output embeddings.npz
Exit codes: 0 exported, 1 the files do not agree, 2 a wrong value or unusable folder, or no space.
"""

_PARITY_IMAGES, _CALIBRATION_IMAGES = 1000, 512


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


def _output_of(options):
    return Path(options.output or Path("exported", Path(options.run).resolve().name))


def _export(options):
    """Makes the export; returns its folder and manifest."""
    run, output = RunFolder(Path(options.run)), _output_of(options)
    config = _finished_run(run)
    _check_output(output, options.overwrite)
    check_there(config.dataset, options.data_dir)
    with own(output):
        tf = import_tensorflow()  # only after everything that is cheap has been checked

        from cueco_tf import data

        try:
            images = data.load_for(config, options.data_dir)
            with new_folder(output) as folder:
                return output, _write(folder, run.path, images, options.precision, output.name)
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


def _write(folder, run_path, images, precision, name):
    """Fills a folder with an export and returns its manifest."""
    from cueco_tf.data.image_files import EVALUATION_CROP
    from cueco_tf.data.splits import FileSplit
    from cueco_tf.export import checks, onnx_graph, writing
    from cueco_tf.export.model_card import model_card
    from cueco_tf.running.loading import load_run

    print(f"Reading {run_path}")
    run = load_run(run_path, weights_only=True)
    if run.clusters is None:
        raise RunError(f"{run_path} holds no clusters.npz, which its method needs: copy it whole.")
    network = writing.serving_network(run.model, run.clusters.directions)
    print("Writing the files")
    writing.save_keras(folder / KERAS, network)
    writing.save_saved_model(folder / SAVED_MODEL, network)
    method, _ = method_of(run.config)
    exact = writing.to_onnx(network, onnx_graph.describe(method, run.clusters.are))
    (folder / ONNX).write_bytes(onnx_graph.serialize(exact))
    real = _some(images.train if images.test is None else images.test, _PARITY_IMAGES)
    print(f"Comparing them on {len(real)} images")
    parity = checks.parity(folder, network, real)
    price = None if precision == "float32" else _reduce(folder / ONNX, exact, precision, images)
    crop = EVALUATION_CROP if isinstance(images.train, FileSplit) else 1.0
    manifest = describe(run, run_path, name, precision, crop, writing.OPSET, machine())
    manifest |= {"parity": parity, "price": price}
    manifest["warnings"] = checks.warnings(manifest)
    (folder / "README.md").write_text(model_card(manifest))
    manifest["files"] = checksums(folder)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    return manifest


def _reduce(path, exact, precision, images):
    """Puts an encoder of lower precision in the place of the exact one; returns its price."""
    from cueco_tf.export import checks, onnx_graph, onnx_precision

    print(f"Reducing to {precision} and measuring its price")
    calibration = _some(images.train, _CALIBRATION_IMAGES)
    reduced = onnx_graph.serialize(onnx_precision.reduce(exact, precision, calibration))
    encoder, size = Encoder(path), path.stat().st_size
    path.write_bytes(reduced)
    price = checks.price(encoder, Encoder(path), images)
    return {**price, "bytes": {"float32": size, "reduced": len(reduced)}}


def _some(split, count):
    """Random images of a split as one array, uint8 `(n, height, width, 3)`."""
    import numpy as np

    return np.concatenate(list(split.sample(count).plain_batches().as_numpy_iterator()))


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
        f"{output}: images (n, {', '.join(map(str, manifest['input']['shape'][1:]))}) uint8 -> "
        f"embedding (n, {manifest['embedding_dim']}), cluster (n,) of {manifest['clusters']}; "
        f"{ONNX} has {size:,} bytes"
    )


if __name__ == "__main__":
    sys.exit(main())
