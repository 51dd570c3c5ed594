"""The training step in mixed precision and compiled with XLA, against float32 without.

The default of `--precision` and `--jit` should be what is fastest here. On a GPU the images lie on
it and the step makes the views; on a CPU views are ready. XLA's convolutions in sixteen bits take
seconds a step on a CPU even for tiny networks: there those sides have to be named.
"""

from pipelines.benchmarking import bare_step, devices
from pipelines.benchmarking.measuring import Findings, alternate

ROUNDS = 5
_SIDES = {
    "float32": ("float32", False),
    "float32, XLA": ("float32", True),
    "mixed_bfloat16": ("mixed_bfloat16", False),
    "mixed_bfloat16, XLA": ("mixed_bfloat16", True),
    "mixed_float16": ("mixed_float16", False),
    "mixed_float16, XLA": ("mixed_float16", True),
}
_ON_CPU = ("float32", "float32, XLA", "mixed_bfloat16", "mixed_float16")


def add_options(parser):
    """Its part of the command line."""
    bare_step.add_options(parser)
    parser.add_argument(
        "--sides",
        nargs="+",
        choices=_SIDES,
        metavar="SIDE",
        help=f"which to measure, the first as yardstick: {'; '.join(_SIDES)} (default: "
        "all; on a CPU all but XLA in mixed precision)",
    )


def measure(options):
    """Runs the comparison.

    Raises:
        ConfigError: for options out of range.
    """
    on_gpu = devices.choose(None) == "gpu"
    if on_gpu:
        source = bare_step.random_images(options.batch_size)
    else:
        source = bare_step.endless(bare_step.random_views(options.batch_size))

    def rate(precision, jit):
        model = bare_step.build(options, precision=precision, jit=jit)
        bare_step.start_clusters(model)
        return lambda: bare_step.rate(model, source, options.steps, options.batch_size)

    sides = {name: rate(*_SIDES[name]) for name in options.sides or (_SIDES if on_gpu else _ON_CPU)}
    for side in sides.values():
        side()  # builds and compiles the graph
    comparison = alternate("training step", "images/s", sides, options.rounds)
    facts = {"device": devices.described()}
    return Findings(bare_step.settings(options), (comparison,), facts)
