"""Time to `--help` and to the first training step, against that of importing Keras."""

import subprocess
import sys
import time

from pipelines.benchmarking.measuring import Findings, alternate

ROUNDS = 5
_FIRST_STEP = """
import cueco_tf
from cueco_tf import data
from cueco_tf.settings.run import RunConfig
from cueco_tf.methods.building import build_model
digits = data.load("digits", image_size=16)
config = RunConfig.for_dataset("digits").resolve(len(digits.train), 16, 10)
model = build_model(config)
batches = digits.train.training_batches(config.batch_size, model.augment, 0, 0)
model.fit(batches, steps_per_epoch=1, verbose=0)
"""
_SIDES = {
    "import keras": ("-c", "import keras"),
    "import cueco_tf": ("-c", "import cueco_tf"),
    "--help": ("-m", "cueco_tf.train", "--help"),
    "first step on the digits": ("-c", _FIRST_STEP),
}


def add_options(parser):
    """It has no options of its own."""


def measure(options):
    """Runs each side in a process of its own."""

    def seconds(arguments):
        start = time.monotonic()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        return time.monotonic() - start

    sides = {
        name: lambda arguments=arguments: seconds(arguments) for name, arguments in _SIDES.items()
    }
    return Findings({}, (alternate("start-up", "s", sides, options.rounds),))
