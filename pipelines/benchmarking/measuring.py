"""What all benchmarks share: sides measured in turn, their ratios, one form, one table."""

import dataclasses
import os
import platform
import re
import statistics
import time
from importlib import metadata
from pathlib import Path

from pipelines import command

_PACKAGES = ("tensorflow", "keras", "keras-cv", "onnxruntime", "torch", "numpy", "pillow")
_VARIABLES = (
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_NUM_INTEROP_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "OMP_NUM_THREADS",
    "ONEDNN_MAX_CPU_ISA",
    "ATEN_CPU_CAPABILITY",
    "MKL_ENABLE_INSTRUCTIONS",
)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Ways of doing the same work, measured in turn.

    Args:
        title: what is compared.
        unit: what is measured, such as `images/s`.
        values: `{side: [a value a round]}`, the first side is the one the others are held against.
    """

    title: str
    unit: str
    values: dict

    def ratios(self, side):
        """The side over the first one, a round each."""
        first = next(iter(self.values.values()))
        return [own / other for own, other in zip(self.values[side], first, strict=True)]

    def between(self, first, second, title):
        """Two of its sides alone."""
        return Comparison(title, self.unit, {side: self.values[side] for side in (first, second)})

    def rows(self):
        """A row a side, for `text_table`."""
        for side, values in self.values.items():
            ratios = self.ratios(side)
            yield {
                self.title: side,
                self.unit: statistics.median(values),
                "ratio": statistics.median(ratios),
                "least": min(ratios),
                "most": max(ratios),
            }

    def as_dict(self):
        """Its form in JSON; a side's `ratio` is the median of its ratios round by round."""
        sides = {
            side: {
                "median": statistics.median(values),
                "ratio": statistics.median(self.ratios(side)),
                "values": values,
            }
            for side, values in self.values.items()
        }
        return {"title": self.title, "unit": self.unit, "sides": sides}


@dataclasses.dataclass(frozen=True)
class Findings:
    """What a benchmark found: `settings` and `facts` by name, `Comparison`s, and a `growth` table
    of rows (dicts with the same keys) where sizes were varied, or one of `parts` that were
    counted."""

    settings: dict
    comparisons: tuple
    facts: dict = dataclasses.field(default_factory=dict)
    growth: tuple = ()
    parts: tuple = ()


def alternate(title, unit, sides, rounds):
    """Measures each side once a round, for as many rounds.

    A busy or throttled machine slows all sides of a round alike, so ratios are taken round by
    round; every second round runs backwards, so that no side always follows the same other.

    Args:
        title, unit: as in `Comparison`.
        sides: `{name: function without arguments that returns a value}`.
        rounds: integer >= 1.

    Returns:
        `Comparison`.
    """
    values = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides) if number % 2 == 0 else reversed(sides):
            values[name].append(sides[name]())
        shown = ", ".join(f"{name} {numbers[-1]:.4g}" for name, numbers in values.items())
        print(f"round {number + 1} of {rounds}, {unit}: {shown}", flush=True)
    return Comparison(title, unit, values)


def pipeline_rate(batches, steps, items):
    """Items a second of a `tf.data` pipeline that starts anew: an iterator kept alive would go on
    filling its buffers while the other sides are measured.

    Args:
        batches: `tf.data.Dataset`.
        steps: integer >= 1, batches to draw.
        items: integer, what a batch counts for.
    """
    start = time.monotonic()
    iterator = iter(batches)
    for _ in range(steps):
        next(iterator)
    return steps * items / (time.monotonic() - start)


def peak_memory():
    """The most memory that this process has taken, in MiB."""
    # Not `ru_maxrss`, in which a child begins with its parent's.
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def _measured_on():
    """What was measured on: processor, cores, versions, and the environment's say in speed."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        **command.machine(),
        "environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "python": platform.python_version(),
        "versions": versions,
    }


def write(path, benchmark, findings):
    """Writes the findings as JSON, atomically."""
    result = {
        "benchmark": benchmark,
        "machine": _measured_on(),
        "settings": findings.settings,
        "facts": findings.facts,
        "comparisons": [comparison.as_dict() for comparison in findings.comparisons],
        "growth": list(findings.growth),
        "parts": list(findings.parts),
    }
    command.write_json(path, result)


def show(findings):
    """The findings as text: the comparisons, the tables and the facts."""
    parts = [text_table(list(comparison.rows())) for comparison in findings.comparisons]
    parts += [text_table(rows) for rows in (findings.growth, findings.parts) if rows]
    if findings.facts:
        parts.append("\n".join(f"{name}: {_cell(fact)}" for name, fact in findings.facts.items()))
    return "\n\n".join(parts)


def text_table(rows):
    """Rows (dicts with the same keys) as a table; numbers stand to the right."""
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [not isinstance(value, str) for value in rows[0].values()]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_the_right else cell.ljust(width)
            for cell, width, to_the_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in cells
    )


def _cell(value):
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)
