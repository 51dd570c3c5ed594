"""Measures ways of doing the same work, in turn in one run.

A busy or throttled machine slows all sides: the ratios are the result, the rates their context.
`python -m pipelines.benchmark COMMAND --help` says what a command compares.
"""

import contextlib
import importlib
import sys
from pathlib import Path

from cueco_tf.ownership import own
from cueco_tf.process import command, fail
from pipelines.benchmarking.measuring import show, write
from pipelines.command import check_file, parser_of

COMMANDS = (
    "step",
    "launches",
    "replicas",
    "training",
    "methods",
    "clustering",
    "growth",
    "views",
    "folders",
    "many-files",
    "precision",
    "start-up",
    "inference",
)


def build_parser():
    """The command line; each command's part is in the module of its name."""
    parser = parser_of("benchmark", __doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = importlib.import_module(f"pipelines.benchmarking.{name.replace('-', '_')}")
        one = commands.add_parser(
            name,
            help=module.__doc__.partition("\n\n")[0].replace("\n", " "),
            description=module.__doc__,
        )
        module.add_options(one)
        if hasattr(module, "ROUNDS"):  # else it counts, and measures no sides
            one.add_argument(
                "--rounds",
                type=int,
                default=module.ROUNDS,
                help=f"how often each side is measured (default: {module.ROUNDS})",
            )
        one.add_argument(
            "--output", metavar="FILE", type=Path, help="also write the result as JSON"
        )
        one.set_defaults(measure=module.measure)
    return parser


@command
def main(argv=None):
    """Runs a benchmark and returns the exit code."""
    parser = build_parser()
    options = parser.parse_args(argv)
    for name, value in vars(options).items():
        numbers = value if isinstance(value, list) else [value]
        if any(type(number) is int and number < 1 for number in numbers):
            parser.error(f"--{name.replace('_', '-')} should be at least 1. Received: {value}")
    try:
        with contextlib.ExitStack() as held:
            if options.output:
                check_file("--output", options.output)
                held.enter_context(own(options.output))
            findings = options.measure(options)
            if options.output:
                write(options.output, options.command, findings)
    except (ValueError, OSError, ImportError) as error:
        return fail(error)
    print(f"\n{show(findings)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
