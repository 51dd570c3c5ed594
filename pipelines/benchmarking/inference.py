"""An export's ONNX file, as pipelines.embed runs it, against its SavedModel in TensorFlow.

TensorFlow runs the SavedModel, which keeps BatchNormalization as it was trained, with the batch
size that suits it best here, out of five; both work on the same images with the same cores.
"""

import time

from cueco_tf.export.reading import SAVED_MODEL, read_export
from cueco_tf.process import import_tensorflow
from pipelines.benchmarking.measuring import Findings, alternate

ROUNDS = 5
_SIZES = (32, 64, 128, 256, 512)


def add_options(parser):
    """Its part of the command line."""
    parser.add_argument("export", metavar="EXPORT", help="folder of pipelines.export")
    parser.add_argument("--images", type=int, default=4096, help="a measurement (default: 4096)")


def measure(options):
    """Runs the comparison.

    Raises:
        ExportError, OSError: for a folder that is no usable export.
    """
    export = read_export(options.export)
    import numpy as np

    tf = import_tensorflow()
    count = options.images
    encoder = export.encoder()
    serve = tf.saved_model.load(str(export.folder / SAVED_MODEL)).signatures["serving_default"]
    _, *shape = export.manifest["input"]["shape"]
    images = np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)
    images = images.astype(export.manifest["input"]["dtype"])

    def tensorflow(size):
        start = time.monotonic()
        for first in range(0, count, size):
            for output in serve(images=tf.constant(images[first : first + size])).values():
                output.numpy()
        return count / (time.monotonic() - start)

    def onnxruntime():
        start = time.monotonic()
        encoder.encode(images)
        return count / (time.monotonic() - start)

    onnxruntime()
    sizes = [size for size in _SIZES if size <= count] or [count]
    trials = {size: max(tensorflow(size) for _ in range(3)) for size in sizes}
    best = max(trials, key=trials.get)
    sides = {"TensorFlow": lambda: tensorflow(best), "ONNX Runtime": onnxruntime}
    return Findings(
        {"export": str(options.export), "images": count},
        (alternate("inference", "images/s", sides, options.rounds),),
        {
            "precision": export.manifest["precision"],
            "batch size in TensorFlow": best,
            "batch size in ONNX Runtime": encoder.batch_size,
        },
    )
