"""Measures ways of doing the same work, in turn in one run.

A busy or throttled machine slows all sides: the ratios are the result, the rates their context.
`python -m pipelines.benchmark COMMAND --help` says what a command compares.
"""

import argparse
import importlib
import sys
from pathlib import Path

from pipelines.benchmarking.measuring import show, write
from pipelines.command import check_parent, fail, parser_of, quiet_tensorflow

COMMANDS = (
    "step",
    "launches",
    "training",
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
        command = commands.add_parser(
            name,
            help=module.__doc__.partition("\n\n")[0].replace("\n", " "),
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_options(command)
        if hasattr(module, "ROUNDS"):  # else it counts, and measures no sides
            command.add_argument(
                "--rounds",
                type=int,
                default=module.ROUNDS,
                help=f"how often each side is measured (default: {module.ROUNDS})",
            )
        command.add_argument(
            "--output", metavar="FILE", type=Path, help="also write the result as JSON"
        )
        command.set_defaults(measure=module.measure)
    return parser


def main(argv=None):
    """Runs a benchmark and returns the exit code."""
    parser = build_parser()
    options = parser.parse_args(argv)
    for name, value in vars(options).items():
        numbers = value if isinstance(value, list) else [value]
        if any(type(number) is int and number < 1 for number in numbers):
            parser.error(f"--{name.replace('_', '-')} should be at least 1. Received: {value}")
    quiet_tensorflow()
    import cueco_tf  # noqa: F401 (before TensorFlow, which the measuring imports)

    try:
        if options.output:
            check_parent("--output", options.output)
        findings = options.measure(options)
        if options.output:
            write(options.output, options.command, findings)
    except (ValueError, OSError, ImportError) as error:
        return fail(error)
    print(f"\n{show(findings)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
