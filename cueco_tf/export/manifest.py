"""What an export says about itself: `manifest.json`."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path

from cueco_tf.evaluation.table import method_of
from cueco_tf.export.reading import FORMAT_VERSION, KERAS, ONNX, SAVED_MODEL
from cueco_tf.running.run_folder import RunFolder
from cueco_tf.settings.config_file import to_dict
from cueco_tf.storage import sha256

# What clusters are that were made of the embeddings afterwards.
TREE, HEAD = "a tree of k-means clusters", "a clustering head"
_HOW_TO_LOAD = {
    ONNX: f'onnxruntime.InferenceSession("{ONNX}").run(None, {{"images": images}})',
    KERAS: f'keras.models.load_model("{KERAS}").predict(images)',
    SAVED_MODEL: f'model = tf.saved_model.load("{SAVED_MODEL}"); model.serve(images)',
}
_PACKAGES = ("cueco-tf", "tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "numpy")


def describe(run, run_path, name, precision, crop, opset, machine, rule=None):
    """Everything that is known before the files are checked.

    Args:
        run: `runs.Run`.
        run_path: path of its folder.
        name: of the export.
        precision: of its ONNX file.
        crop: float in (0, 1], the share of an image file's shorter side that evaluation sees.
        opset: integer, of its ONNX file.
        machine: a dict of what the export was made on.
        rule: `clustering.rule.Rule` that sorts images in the place of the run's own clusters, or
            None. Defaults to None.

    Returns:
        A dict for JSON.
    """
    method, reference = method_of(run.config)
    dim = int(run.model.encoder.output.shape[-1])
    return {
        "format_version": FORMAT_VERSION,
        "name": name,
        "method": method,
        "reference": reference,
        "precision": precision,
        "input": _input(run, crop),
        "outputs": _outputs(dim),
        "embedding_dim": dim,
        **_clusters(run, rule),
        "how_to_load": _HOW_TO_LOAD,
        "scores": {
            "summary": run.summary,
            "evaluation": RunFolder(Path(run_path)).read_evaluation(),
        },
        "run": _run(run_path, run.config),
        "opset": opset,
        "versions": {
            "python": platform.python_version(),
            **{package: metadata.version(package) for package in _PACKAGES},
        },
        "machine": machine,
        "git_revision": git_revision(),
    }


def _run(path, config):
    encoder = RunFolder(Path(path)).encoder  # which a run that is not finished has not yet
    encoder = sha256(encoder) if encoder.is_file() else None
    return {"name": Path(path).resolve().name, "encoder": encoder, "config": to_dict(config)}


def _clusters(run, rule):
    if rule is not None:
        count = len(rule.centroids)
        are = {"tree": TREE, "head": HEAD}[rule.method]
        return dict(clusters=count, clusters_are=are, clusters_trained=True, clusters_used=count)
    return {
        "clusters": len(run.clusters.directions),
        "clusters_are": run.clusters.are,
        "clusters_trained": run.clusters.trained,
        "clusters_used": (run.summary or {}).get("clusters_used"),
    }


def _input(run, crop):
    return {
        "name": "images",
        "dtype": "float32" if run.config.depth == 16 else "uint8",
        "range": [0, 255],
        "shape": ["n", *run.model.image_shape],
        "image_size": run.config.image_size,
        "crop": crop,
        "resize": "bilinear",
        "reading": {
            "pixel_range": run.config.pixel_range,
            "max_megapixels": run.config.max_megapixels,
            "channels": run.config.channels,
            "depth": run.config.depth,
        },
    }


def _outputs(dim):
    return {
        "embedding": {"dtype": "float32", "shape": ["n", dim]},
        "cluster": {"dtype": "int64", "shape": ["n"]},
        "cluster_similarity": {"dtype": "float32", "shape": ["n"]},
    }


def checksums(folder):
    """Size and sha256 of every file below a folder, by its path from there."""
    return {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": sha256(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def git_revision():
    """The commit that this code is of, with `+` where it was changed since; None outside git."""
    here = Path(__file__).resolve()
    git = ["git", "-C", str(here.parent)]
    try:
        for arguments in (["ls-files", "--error-unmatch", here.name], ["rev-parse", "HEAD"]):
            done = subprocess.run([*git, *arguments], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], capture_output=True).returncode
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip() + ("+" if changed else "")
