"""The house: which room may import which, what stays free of TensorFlow, how long things are."""

import ast
import functools
import graphlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import setuptools

ROOT = Path(__file__).resolve().parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("cueco_tf", "pipelines")
    for path in sorted((ROOT / package).rglob("*.py"))
}

# A room of `cueco_tf` (a package or a module at its top) and the rooms that it may import, within
# functions too. Parts, data and settings know no method.
ROOMS = {
    "backend": set(),
    "commands": set(),
    "lazy": set(),
    "process": {"progress", "settings"},
    "progress": set(),
    "ownership": set(),
    "storage": set(),
    "gpu": set(),
    "settings": set(),
    "distributed": {"parts", "process", "settings"},
    "parts": {"backend", "process", "settings"},
    "data": {"lazy", "ownership", "parts", "progress", "settings", "storage"},
    "methods": {
        "backend",
        "data",
        "distributed",
        "evaluation",
        "parts",
        "process",
        "settings",
        "storage",
    },
    "evaluation": {"data", "lazy", "parts", "settings"},
    "clustering": {"evaluation", "storage"},
    "running": {
        "data",
        "distributed",
        "evaluation",
        "methods",
        "ownership",
        "parts",
        "process",
        "progress",
        "settings",
        "storage",
    },
    "export": {"evaluation", "methods", "process", "progress", "running", "settings", "storage"},
    "embedding": {"data", "export", "ownership", "process", "progress", "settings", "storage"},
    "train": {
        "data",
        "distributed",
        "evaluation",
        "ownership",
        "process",
        "running",
        "settings",
    },
}
# The same for `pipelines`, where all of `cueco_tf` is open to everyone.
COMMANDS = {
    "command": set(),
    "evaluating": {"command"},
    "exporting": {"command"},
    "reporting": {"command"},
    "grouping": {"command", "reporting"},
    "reproducing": {"command", "reporting"},
    "benchmarking": {"command"},
    "enduring": {"command"},
    "benchmark": {"benchmarking", "command"},
    "results": set(),
    "clusters": {"command", "grouping", "reporting", "results"},
    "duplicates": {"command", "grouping", "reporting", "results"},
    "embed": {"command", "embedding", "results"},
    "embedding": {"command"},
    "endurance": {"command", "enduring"},
    "evaluate": {"command", "evaluating"},
    "export": {"command", "exporting"},
    "report": {"command", "reporting", "results"},
    "reproduce": {"command", "reproducing", "results"},
    "search": {"command", "grouping", "reporting", "results"},
}
# (module, room): why it is imported all the same.
AGAINST_THE_GRAIN = {}

# Imported without TensorFlow, as are all commands; a package stands for what is in it.
LIGHT = (
    "cueco_tf.backend",
    "cueco_tf.clustering",
    "cueco_tf.commands",
    "cueco_tf.data.image_files",
    "cueco_tf.data.labels",
    "cueco_tf.data.layout",
    "cueco_tf.data.listings",
    "cueco_tf.data.presence",
    "cueco_tf.data.scan",
    "cueco_tf.distributed.environment",
    "cueco_tf.distributed.supervisor",
    "cueco_tf.embedding",
    "cueco_tf.evaluation",
    "cueco_tf.export.manifest",
    "cueco_tf.export.model_card",
    "cueco_tf.export.reading",
    "cueco_tf.gpu",
    "cueco_tf.lazy",
    "cueco_tf.ownership",
    "cueco_tf.process",
    "cueco_tf.progress",
    "cueco_tf.running.checkpoints",
    "cueco_tf.running.loggers",
    "cueco_tf.running.run_folder",
    "cueco_tf.running.starting",
    "cueco_tf.settings",
    "cueco_tf.storage",
    "cueco_tf.train",
)
HEAVY = {"cueco_tf.evaluation.networks"}

LONGEST_MODULE, LONGEST_FUNCTION = 250, 40
# What is longer: lines it may have, and why.
LONG = {
    "cueco_tf.settings.methods": (560, "the settings of all methods, on one page"),
    "cueco_tf.methods.fitting.fit": (65, "its signature, which is Keras's, alone has 22 lines"),
    "cueco_tf.methods.cueco.__init__": (75, "its signature alone has 21 lines"),
}


@functools.cache
def tree_of(module):
    return ast.parse(MODULES[module].read_text())


def imports_of(module):
    """The full names of what a module imports, at its top and within functions."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports by a relative name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def arrows(package):
    """All (module, room it imports) of a package whose room is another one."""
    rooms = {name.split(".")[1] for name in MODULES if name.startswith(f"{package}.")}
    for module in MODULES:
        parts = module.split(".")
        for name in imports_of(module) if parts[0] == package else ():
            first, *rest = name.split(".")
            if first == package and rest and rest[0] in rooms and parts[1:2] != rest[:1]:
                yield module, rest[0]


def test_every_room_is_in_the_table():
    for package, table in (("cueco_tf", ROOMS), ("pipelines", COMMANDS)):
        assert table.keys() == {
            name.split(".")[1] for name in MODULES if name.startswith(f"{package}.")
        }


def test_the_table_has_no_circle():
    for table in (ROOMS, COMMANDS):
        order = list(graphlib.TopologicalSorter(table).static_order())
        assert set(order) == table.keys()


@pytest.mark.parametrize("package, table", [("cueco_tf", ROOMS), ("pipelines", COMMANDS)])
def test_imports_run_one_way(package, table):
    table = table | {"": {"commands", "gpu", "lazy", "process", "settings"}}  # the package itself
    wrong = {
        (module, room)
        for module, room in arrows(package)
        if room not in table[module.partition(".")[2].partition(".")[0]]
    }
    assert wrong == {pair for pair in AGAINST_THE_GRAIN if pair[0].startswith(package)}


def test_the_library_imports_nothing_from_the_pipelines():
    for module in MODULES:
        if module.startswith("cueco_tf"):
            assert not any(name.split(".")[0] == "pipelines" for name in imports_of(module)), module


def test_what_should_be_light_needs_no_tensorflow():
    commands = [f"pipelines.{name}" for name in COMMANDS]
    commands = [name for name in commands if MODULES[name].name != "__init__.py"]
    light = [
        module
        for module in MODULES
        if module in commands
        or (any(f"{module}.".startswith(f"{name}.") for name in LIGHT) and module not in HEAVY)
    ]
    assert len(light) > len(commands) + len(LIGHT)
    script = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    heavy = {"tensorflow", "keras", "torch"} & set(sys.modules)
    assert not heavy, f"{name} imports {heavy}"
"""
    done = subprocess.run([sys.executable, "-c", script, *light], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def lengths():
    """The lines of each module, and of each function without its docstring."""
    for module, path in MODULES.items():
        yield module, len(path.read_text().splitlines()), LONGEST_MODULE
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                if ast.get_docstring(node, clean=False) is not None:
                    lines -= node.body[0].end_lineno - node.body[0].lineno + 1
                yield f"{module}.{node.name}", lines, LONGEST_FUNCTION


def test_modules_and_functions_are_short():
    long = [(name, lines) for name, lines, most in lengths() if lines > most]
    assert {name for name, _ in long} == LONG.keys()
    for name, lines in long:
        assert lines <= LONG[name][0], f"{name} has {lines} lines"


def test_every_package_is_found():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    include = settings["tool"]["setuptools"]["packages"]["find"]["include"]
    found = set(setuptools.find_packages(ROOT, include=include))
    assert found == {".".join(path.parent.relative_to(ROOT).parts) for path in MODULES.values()}
