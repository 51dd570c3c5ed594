"""Tries whether a training run survives: killed again and again, or for a very long time.

  python -m pipelines.endurance chaos     SIGKILL at random moments of one run on the digits: does
                                          it end bit for bit as an undisturbed one? (minutes)
  python -m pipelines.endurance soak      10,000 small steps: does memory grow, is anything traced
                                          anew? (minutes)

Exit codes: 0 survived, 1 not, 2 a wrong value or an unusable folder.
"""

import collections
import contextlib
import sys
from pathlib import Path

from cueco_tf.ownership import own
from cueco_tf.process import command, fail, import_tensorflow
from pipelines.command import check_file, parser_of, write_json

# A straight line through a process's memory is never quite level; this much is no leak.
FLAT = 0.5  # megabytes per 1000 steps


def build_parser():
    """The command line."""
    parser = parser_of("endurance", __doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chaos = commands.add_parser("chaos", help="kills at random moments")
    chaos.add_argument("--kills", type=int, default=20, help="default: 20")
    chaos.add_argument("--epochs", type=int, default=20, help="length of the run (default: 20)")
    chaos.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    soak = commands.add_parser("soak", help="many steps")
    soak.add_argument("--steps", type=int, default=10_000, help="default: 10000")
    for one in (chaos, soak):
        one.add_argument(
            "--folder", type=Path, metavar="DIR", help="for the runs (default: runs/COMMAND)"
        )
        one.add_argument(
            "--output", metavar="FILE", type=Path, help="also write the result as JSON"
        )
    return parser


@command
def main(argv=None):
    """Runs the command line and returns the exit code."""
    parser = build_parser()
    options = parser.parse_args(argv)
    for name, least in (("kills", 1), ("epochs", 7), ("steps", 1)):
        value = getattr(options, name, least)
        if value < least:
            parser.error(f"--{name} should be at least {least}. Received: {value}")
    folder = options.folder or Path("runs", options.command)
    try:
        if folder.exists() and any(folder.iterdir()):
            raise ValueError(f"{folder} is not empty. Choose another --folder, or remove it.")
        with contextlib.ExitStack() as held:
            if options.output:
                check_file("--output", options.output)
                held.enter_context(own(options.output))
            held.enter_context(own(folder))
            result, survived = {"chaos": _chaos, "soak": _soak}[options.command](folder, options)
            if options.output:
                write_json(options.output, result)
    except (ValueError, OSError) as error:
        return fail(error)
    return 0 if survived else 1


def _chaos(folder, options):
    from pipelines.enduring.chaos import chaos
    from pipelines.enduring.life import ChaosError

    try:
        result = chaos(folder, options.kills, options.epochs, options.seed)
    except ChaosError as error:
        print(error)
        return {"error": str(error)}, False
    for number, kill in enumerate(result["kills"], 1):
        cut = ", ".join(kill["half_written"])
        print(
            f"{number:3}  checkpoint at step {kill['checkpoint_step']:5}  {kill['phase']:12}  "
            f"{kill['where']}{f'  half-written: {cut}' if cut else ''}"
        )
    hits = collections.Counter(kill["phase"] for kill in result["kills"])
    print(f"{sum(hits.values())} kills: {', '.join(f'{n} {phase}' for phase, n in hits.items())}")
    if len(result["kills"]) < options.kills:
        print(
            "The run was over before the moment of the next kill had come: give it more --epochs."
        )
    if result["identical"]:
        print(
            f"The same as the undisturbed run, bit for bit: {result['arrays']} arrays, "
            f"{len(result['epochs'])} rows of metrics, final scores."
        )
    else:
        print(f"NOT the same as the undisturbed run: compare the two runs in {folder}.")
        print(f"Epochs {result['epochs']}; arrays that differ: {result['differing'] or 'none'}")
    return result, result["identical"]


def _soak(folder, options):
    import_tensorflow()
    from pipelines.enduring.soak import soak

    result = soak(folder, options.steps)
    (_, first), (_, last) = result["samples"][0], result["samples"][-1]
    growth, traces = result["megabytes_per_1000_steps"], result["traces"]
    print(
        f"{result['steps']} steps: memory {first:.1f} MB after the first epoch, {last:.1f} MB at "
        f"the end; slope {growth:+.3f} MB per 1000 steps over the second half"
    )
    for when, counts in traces.items():
        print(f"traced {when}: {', '.join(f'{name} {n}' for name, n in counts.items())}")
    return result, growth < FLAT and traces["after two epochs"] == traces["at the end"]


if __name__ == "__main__":
    sys.exit(main())
