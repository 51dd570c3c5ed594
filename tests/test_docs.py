"""The documentation builds without a warning, and what it shows runs as it is printed."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "docs" / f"{name}.md"
    for name in ("getting-started", "data", "keras", "evaluation", "runs")
]

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def test_it_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-q", "--fail-on-warning", "--keep-going"]
    done = subprocess.run(
        [
            *command,
            "--builder",
            "html",
            "--doctree-dir",
            tmp_path / "trees",
            ROOT / "docs",
            tmp_path,
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    reference = (tmp_path / "api.html").read_text()
    for name in ("cueco_tf.CueCo", "cueco_tf.methods.fitting.FittingModel.fit"):
        assert f'id="{name}"' in reference
    commands = (tmp_path / "command-line.html").read_text()
    assert "python -m pipelines.embed" in commands and "--predictor-dim" in commands


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebooks_outputs_are_of_its_cells(path):
    spec = importlib.util.spec_from_file_location("execute", path.parent / "execute.py")
    execute = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(execute)
    notebook = nbformat.read(path, nbformat.NO_CONVERT)
    again = "its cells have changed: make notebooks"
    assert notebook.metadata["sources"] == execute.sources_of(notebook), again
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert outputs and not any(output.output_type == "error" for output in outputs)
    assert path.stat().st_size < 1_000_000
    assert "/tmp/" not in path.read_text() and "/home/" not in path.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_its_snippets_run_one_after_the_other(page, tmp_path):
    """In an empty folder, with what the ones before have made."""
    snippets = re.findall(r"```(python|bash)\n(.*?)```", page.read_text(), re.S)
    snippets = [(kind, text) for kind, text in snippets if "pip install" not in text]
    assert snippets
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for kind, text in snippets:
        command = [sys.executable, "-c"] if kind == "python" else ["bash", "-euc"]
        done = subprocess.run(
            [*command, text],
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    if page.stem == "getting-started":
        for made in ("runs/pictures/report/index.html", "exported/pictures/encoder.onnx", "sorted"):
            assert (tmp_path / made).exists()
