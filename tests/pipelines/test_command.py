"""What the commands share."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import command

COMMANDS = sorted(
    path.stem
    for path in Path(command.__file__).parent.glob("*.py")
    if path.stem not in ("__init__", "command")
)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_in_its_own_words(name):
    done = subprocess.run(
        [sys.executable, "-m", f"pipelines.{name}", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: python -m pipelines.{name} ")
    assert done.stderr == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_gives_back_what_belongs_to_the_process(name):
    assert hasattr(importlib.import_module(f"pipelines.{name}").main, "__wrapped__")


def test_the_reason_is_a_line(tmp_path):
    with pytest.raises(OSError) as caught:
        (tmp_path / "none").read_text()
    assert command.reason(caught.value) == "No such file or directory"
    assert command.reason(ValueError("one\ntwo")) == "one"
    assert command.reason(ValueError()) == "ValueError()"


def test_a_folder_that_is_not_there_is_named_with_its_option(tmp_path):
    command.check_parent("--output", tmp_path / "scores.json")
    with pytest.raises(command.UsageError, match=r"no folder .*/none for --output"):
        command.check_parent("--output", tmp_path / "none" / "scores.json")
    command.check_file("--output", tmp_path / "scores.json")
    with pytest.raises(command.UsageError, match=r"should name a file. Received the folder"):
        command.check_file("--output", tmp_path)


def test_the_machine_and_json(tmp_path):
    found = command.machine()
    assert found["processor"] and 1 <= found["cores"] <= os.cpu_count()
    command.write_json(tmp_path / "machine.json", found)
    assert json.loads((tmp_path / "machine.json").read_text()) == found
    assert [path.name for path in tmp_path.iterdir()] == ["machine.json"]
