"""The files of an export, written and compared."""

import json

import numpy as np

from cueco_tf.data.file_splits import FileSplit
from cueco_tf.data.image_files import EVALUATION_CROP
from cueco_tf.evaluation.table import method_of
from cueco_tf.export import checks, onnx_graph, onnx_precision, writing
from cueco_tf.export.manifest import checksums, describe
from cueco_tf.export.model_card import model_card
from cueco_tf.export.reading import KERAS, MANIFEST, ONNX, SAVED_MODEL, Encoder
from cueco_tf.running.loading import load_run
from cueco_tf.running.run_folder import RunError
from pipelines.command import machine

_PARITY_IMAGES, _CALIBRATION_IMAGES = 1000, 512


def fill(folder, run_path, images, precision, name, rule):
    """Fills a folder with an export.

    Args:
        folder: path of an empty folder.
        run_path: path of a finished run.
        images: its `ImageSet`.
        precision: of the ONNX file.
        name: of the export.
        rule: `Rule` of clusters that were made afterwards, or None for the run's own.

    Returns:
        The manifest, a dict.
    """

    print(f"Reading {run_path}")
    run = load_run(run_path, weights_only=True)
    if run.clusters is None:
        raise RunError(f"{run_path} holds no clusters.npz, which its method needs: copy it whole.")
    dtype = "float32" if run.config.depth == 16 else "uint8"
    network = writing.serving_network(run.model, run.clusters.directions, rule, dtype)
    print("Writing the files")
    writing.save_keras(folder / KERAS, network)
    writing.save_saved_model(folder / SAVED_MODEL, network)
    method, _ = method_of(run.config)
    crop = EVALUATION_CROP if isinstance(images.train, FileSplit) else 1.0
    manifest = describe(run, run_path, name, precision, crop, writing.OPSET, machine(), rule)
    words = onnx_graph.describe(method, manifest["input"], manifest["clusters_are"])
    exact = writing.to_onnx(network, words)
    (folder / ONNX).write_bytes(onnx_graph.serialize(exact))
    real = _some(images.train if images.test is None else images.test, _PARITY_IMAGES)
    print(f"Comparing them on {len(real)} images")
    parity = checks.parity(folder, network, real, None if rule is None else rule.clusters)
    price = None if precision == "float32" else _reduce(folder / ONNX, exact, precision, images)
    manifest |= {"parity": parity, "price": price}
    manifest["warnings"] = checks.warnings(manifest)
    (folder / "README.md").write_text(model_card(manifest))
    manifest["files"] = checksums(folder)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    return manifest


def _reduce(path, exact, precision, images):
    """Puts an encoder of lower precision in the place of the exact one; returns its price."""

    print(f"Reducing to {precision} and measuring its price")
    calibration = _some(images.train, _CALIBRATION_IMAGES)
    reduced = onnx_graph.serialize(onnx_precision.reduce(exact, precision, calibration))
    encoder, size = Encoder(path), path.stat().st_size
    path.write_bytes(reduced)
    price = checks.price(encoder, Encoder(path), images)
    return {**price, "bytes": {"float32": size, "reduced": len(reduced)}}


def _some(split, count):
    """Random images of a split as one array `(n, height, width, channels)`."""

    return np.concatenate(list(split.sample(count).plain_batches().as_numpy_iterator()))
