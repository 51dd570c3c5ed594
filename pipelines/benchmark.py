"""Measures two ways of doing the same work, in turn in one process.

  python -m pipelines.benchmark training --dataset cifar100 --encoder resnet10 --width 16
      training end to end, augmentation included, against the bare step on ready-made views

  python -m pipelines.benchmark inference exported/cifar100
      an export's ONNX file, as pipelines.embed runs it, against its SavedModel in TensorFlow

A busy or throttled machine slows both sides: the ratio is the result, the rates are its context.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path

from cueco_tf.checkpoints import write_atomically
from cueco_tf.config import RunConfig
from cueco_tf.exported import SAVED_MODEL, cores, read_export


def build_parser():
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.benchmark",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    training = commands.add_parser("training", help="end to end against the bare step")
    training.add_argument("--dataset", default="cifar100", help="as in cueco_tf.train")
    training.add_argument("--data-dir", help="as in cueco_tf.train")
    training.add_argument("--encoder", default="resnet10")
    training.add_argument("--width", type=int, default=16)
    training.add_argument("--batch-size", type=int, default=256)
    training.add_argument("--steps", type=int, default=20, help="a measurement (default: 20)")
    inference = commands.add_parser("inference", help="ONNX Runtime against TensorFlow")
    inference.add_argument("export", metavar="EXPORT", help="folder of pipelines.export")
    inference.add_argument("--images", type=int, default=4096, help="a measurement (default: 4096)")
    for command in (training, inference):
        command.add_argument("--rounds", type=int, default=5, help="pairs (default: 5)")
        command.add_argument(
            "--output", metavar="FILE", type=Path, help="also write the result as JSON"
        )
    return parser


def main(argv=None):
    """Runs the benchmark and returns the exit code."""
    parser = build_parser()
    options = parser.parse_args(argv)
    for name in ("steps", "images", "rounds"):
        if getattr(options, name, 1) < 1:
            parser.error(f"--{name} should be at least 1. Received: {getattr(options, name)}")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    command = {"training": _training, "inference": _inference}[options.command]
    try:
        if options.output and not options.output.parent.is_dir():
            raise ValueError(f"There is no folder {options.output.parent} for --output.")
        result, table = command(options)
        if options.output:
            text = json.dumps(result, indent=2) + "\n"
            write_atomically(options.output, lambda path: path.write_text(text))
    except (ValueError, OSError) as error:  # ConfigError, DataError, ExportError and files
        print(f"error: {error}".splitlines()[0], file=sys.stderr)
        return 2
    print(f"\n{'images/s':34}{'median':>9}")
    for title, rate in table.items():
        print(f"{title:34}{rate:9.0f}")
    print(f"{'ratio':34}{result['ratio']:9.3f}   (median of {options.rounds} pairs)")
    return 0


def _training(options):
    config = RunConfig.for_dataset(
        options.dataset, encoder=options.encoder, width=options.width, batch_size=options.batch_size
    )
    from cueco_tf import data

    images = data.load(config.dataset, options.data_dir, config.image_size)
    config = config.resolve(len(images.train), images.train.image_size, images.num_classes)
    result = measure(config, images.train, options.steps, options.rounds)
    return result, {
        "step on ready-made views": result["bare_images_per_second"],
        "end to end, with augmentation": result["images_per_second"],
    }


def _inference(options):
    result = measure_inference(read_export(options.export), options.images, options.rounds)
    return result, {
        f"TensorFlow, batches of {result['tensorflow_batch_size']}": result["tensorflow"],
        f"ONNX Runtime, batches of {result['onnxruntime_batch_size']}": result["onnxruntime"],
    }


def measure(config, split, steps, rounds):
    """Times the two sides in turn.

    Args:
        config: resolved `RunConfig`.
        split: the training split.
        steps: integer >= 1, training steps a measurement.
        rounds: integer >= 1, pairs of measurements.

    Returns:
        A dict: the medians, every pair, and what was measured on what.
    """
    import tensorflow as tf

    from cueco_tf.runs import build_model

    model = build_model(config)
    end_to_end = split.training_batches(config.batch_size, model.augment, config.seed, 0)
    ready_made = tf.data.Dataset.from_tensors(next(iter(end_to_end))).repeat()
    _rate(model, ready_made, 5, config.batch_size)  # builds the graph
    pairs = []
    for number in range(rounds):
        bare, whole = (
            _rate(model, batches, steps, config.batch_size) for batches in (ready_made, end_to_end)
        )
        pairs.append((bare, whole))
        print(f"pair {number + 1}: bare {bare:.0f}, end to end {whole:.0f}, {whole / bare:.3f}")
    return {
        "ratio": statistics.median(whole / bare for bare, whole in pairs),
        "bare_images_per_second": statistics.median(bare for bare, _ in pairs),
        "images_per_second": statistics.median(whole for _, whole in pairs),
        "pairs": pairs,
        "encoder": config.encoder,
        "width": config.width,
        "batch_size": config.batch_size,
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "tensorflow": tf.__version__,
    }


def _rate(model, batches, steps, batch_size):
    """Images a second over `steps` steps, not counting the first, which fills the pipeline."""
    import keras

    times = []
    clock = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: times.append((float(logs["loss"]), time.monotonic()))
    )
    model.fit(batches, steps_per_epoch=steps + 1, verbose=0, callbacks=[clock])
    return steps * batch_size / (times[-1][1] - times[0][1])


def measure_inference(export, count, rounds):
    """Times an export in ONNX Runtime and in TensorFlow in turn, on the same images and cores.

    TensorFlow runs the SavedModel, which keeps BatchNormalization as it was trained, with the batch
    size that suits it best here, out of five; ONNX Runtime runs as in `pipelines.embed`.

    Args:
        export: `exported.Export`.
        count: integer >= 1, images a measurement.
        rounds: integer >= 1, pairs of measurements.

    Returns:
        A dict: the median rates, the median ratio, every pair, and what was measured on what.
    """
    import numpy as np
    import onnxruntime
    import tensorflow as tf

    encoder = export.encoder()
    serve = tf.saved_model.load(str(export.folder / SAVED_MODEL)).signatures["serving_default"]
    shape = (count, export.image_size, export.image_size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    def tensorflow(size):
        for start in range(0, count, size):
            batch = tf.constant(images[start : start + size])
            for output in serve(images=batch).values():
                output.numpy()

    def rate(function, *arguments):
        start = time.monotonic()
        function(*arguments)
        return count / (time.monotonic() - start)

    sizes = [size for size in (32, 64, 128, 256, 512) if size <= count] or [count]
    rate(encoder.encode, images)
    trials = {size: max(rate(tensorflow, size) for _ in range(3)) for size in sizes}
    best = max(trials, key=trials.get)
    pairs = []
    for number in range(rounds):
        pair = rate(tensorflow, best), rate(encoder.encode, images)
        pairs.append(pair)
        print(
            f"pair {number + 1}: TensorFlow {pair[0]:.0f}, ONNX Runtime {pair[1]:.0f}, "
            f"{pair[1] / pair[0]:.3f}"
        )
    return {
        "ratio": statistics.median(onnx / tensorflow for tensorflow, onnx in pairs),
        "tensorflow": statistics.median(tensorflow for tensorflow, _ in pairs),
        "onnxruntime": statistics.median(onnx for _, onnx in pairs),
        "pairs": pairs,
        "tensorflow_batch_size": best,
        "tensorflow_trials": trials,
        "onnxruntime_batch_size": encoder.batch_size,
        "precision": export.manifest["precision"],
        "cores": cores(),
        "processor": platform.processor() or platform.machine(),
        "versions": {"tensorflow": tf.__version__, "onnxruntime": onnxruntime.__version__},
    }


if __name__ == "__main__":
    sys.exit(main())
