"""The page of each method says what its settings are."""

import pkgutil
from pathlib import Path

import pytest

import cueco_tf
from cueco_tf.settings.fields import options_of
from cueco_tf.settings.methods import METHODS

PAGES = Path(__file__).resolve().parents[1] / "docs" / "methods"


def shown(field):
    value = field.default
    if value is None:
        return field.metadata["unset"]
    if isinstance(value, tuple):
        return " ".join(f"{number:g}" for number in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


@pytest.mark.parametrize("method", METHODS)
def test_the_page_of_a_method_has_its_reference_command_and_defaults(method):
    kind, text = METHODS[method], (PAGES / f"{method}.md").read_text()
    assert text.startswith(f"# {kind.title}\n") and kind.reference in text
    assert f"python -m cueco_tf.train --method {method} --dataset cifar10\n" in text
    public = kind.model.partition(":")[2]
    assert f"`cueco_tf.{public}(encoder" in text
    assert getattr(cueco_tf, public) is pkgutil.resolve_name(kind.model)
    rows = [line for line in text.splitlines() if line.startswith("| `--")]
    assert rows == [
        f"| `--{field.name.replace('_', '-')}` | {shown(field)} | {field.metadata['help']} |"
        for field in options_of(kind)
    ]


@pytest.mark.parametrize("method", METHODS)
def test_the_figures_of_a_page_are_those_of_the_tables(method):
    found = {}
    for table in ("table1", "table2"):
        lines = (PAGES.parent / "results" / f"{table}-cpu.md").read_text().splitlines()
        heads, *rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
        found |= next(
            dict(zip(["method", *heads], row, strict=True))
            for row in rows
            if row[0] == METHODS[method].title
        )
    figures = [found[score] for score in ("linear top-1", "k-NN top-1", "NMI", "ACC", "ARI")]
    text = (PAGES / f"{method}.md").read_text()
    (row,) = (line for line in text.splitlines() if line.startswith("| CIFAR-100, ResNet-10"))
    assert row.endswith(f" | {' | '.join(figures)} |")
