"""Measures how much of the bare training step's rate is left end to end.

    python -m pipelines.benchmark --dataset cifar100 --encoder resnet10 --width 16

Both sides run in turn in this one process, so that a busy or throttled machine slows both: the
ratio is the result, the rates are its context.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time

from cueco_tf.config import ConfigError, RunConfig


def build_parser():
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.benchmark",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dataset", default="cifar100", help="as in cueco_tf.train")
    parser.add_argument("--data-dir", help="as in cueco_tf.train")
    parser.add_argument("--encoder", default="resnet10")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20, help="steps a measurement (default: 20)")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of measurements (default: 5)")
    parser.add_argument("--output", metavar="FILE", help="also write the result as JSON")
    return parser


def main(argv=None):
    """Runs the benchmark and returns the exit code."""
    parser = build_parser()
    options = parser.parse_args(argv)
    for name in ("steps", "rounds"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} should be at least 1. Received: {getattr(options, name)}")
    try:
        config = RunConfig.for_dataset(
            options.dataset,
            encoder=options.encoder,
            width=options.width,
            batch_size=options.batch_size,
        )
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from cueco_tf import data

    try:
        images = data.load(config.dataset, options.data_dir, config.image_size)
    except data.DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    config = config.resolve(len(images.train), images.train.image_size, images.num_classes)
    result = measure(config, images.train, options.steps, options.rounds)
    if options.output:
        with open(options.output, "w") as file:
            json.dump(result, file, indent=2)
    print(f"\n{'images/s':28}{'median':>9}")
    print(f"{'step on ready-made views':28}{result['bare_images_per_second']:9.0f}")
    print(f"{'end to end, with augmentation':28}{result['images_per_second']:8.0f}")
    print(
        f"{'end to end / bare step':28}{result['ratio']:9.3f}   (median of {options.rounds} pairs)"
    )
    return 0


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


if __name__ == "__main__":
    sys.exit(main())
