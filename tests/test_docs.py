"""The documentation builds without a warning, and what it shows runs as it is printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "docs" / f"{name}.md"
    for name in ("getting-started", "data", "keras", "evaluation", "runs")
]


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
