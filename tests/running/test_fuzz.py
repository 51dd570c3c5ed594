"""Nonsense in `config.json` and on the command line: one line for the user, never a traceback."""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cueco_tf import train
from cueco_tf.running.run_folder import RunError, RunFolder
from cueco_tf.settings.command_line import build_parser
from cueco_tf.settings.config_file import to_dict
from cueco_tf.settings.run import RunConfig

CONFIG = RunConfig.for_dataset("digits").resolve(1437, 16, 10).on_devices(0)
GOOD = to_dict(CONFIG)
NAMES = sorted({**GOOD, **CONFIG.flat()})
FIELDS = st.sampled_from(NAMES)
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**30, -(10**400), 1e308, 0, -1])
VALUES = st.recursive(
    NUMBERS | st.none() | st.booleans() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
WRONG_TYPES = {"a text": "x", "a list": [[]], "an object": {}, "huge": 10**400}


def altered(changed, left_out=()):
    """A configuration file whose fields, the method's settings among them, have these values."""
    parts = ({**GOOD, "settings": None}, GOOD["settings"])
    made = [
        {name: changed.get(name, value) for name, value in part.items() if name not in left_out}
        for part in parts
    ]
    if "settings" in made[0] and "settings" not in changed:
        made[0]["settings"] = made[1]
    return made[0]


def main(*arguments):
    """The exit code of the command line, and what it prints of errors."""
    error = io.StringIO()
    with contextlib.redirect_stderr(error), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = train.main(list(map(str, arguments)))
        except SystemExit as stop:  # argparse's own errors
            code = stop.code
    return code, error.getvalue()


def check_refused_or_valid(content):
    """A file of such content is a valid configuration, or both the reader and the command line
    refuse it by its name."""
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder))
        run.config.write_bytes(content)
        try:
            config = run.read_config()
        except RunError as error:
            assert "config.json cannot be read: " in str(error) and "\n" not in str(error)
            assert main("--run-dir", folder, "--resume") == (2, f"error: {error}\n")
            assert [path.name for path in Path(folder).iterdir()] == ["config.json"]
            return None
    assert to_dict(config).keys() == GOOD.keys()
    return config


@given(st.dictionaries(FIELDS, VALUES, max_size=3), st.lists(FIELDS, max_size=2))
def test_changed_fields_of_a_configuration(changed, left_out):
    check_refused_or_valid(json.dumps(altered(changed, left_out)).encode())


@given(st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value).encode()))
@example(b"")
@example(b"null")
@example(b"[" * 100_000)
@example(b'{"dataset": ' * 900 + b"1" + b"}" * 900)
@example(b'{"epochs": ' + b"9" * 10_000 + b"}")
@example(b"\xff\xfe{}")
def test_what_is_no_configuration_is_refused(content):
    assert check_refused_or_valid(content) is None


@given(st.integers(0, 1200), st.integers(0, 7))
def test_cut_off_and_flipped_configurations(place, bit):
    whole = json.dumps(GOOD, indent=2).encode()
    assert check_refused_or_valid(whole[: place % len(whole)]) is None
    flipped = bytearray(whole)
    flipped[place % len(whole)] ^= 1 << bit
    check_refused_or_valid(bytes(flipped))


@pytest.mark.parametrize("value", WRONG_TYPES.values(), ids=WRONG_TYPES)
@pytest.mark.parametrize("name", sorted(CONFIG.flat()))
def test_a_wrong_type_is_refused_by_the_name_of_its_field(name, value, tmp_path):
    run = RunFolder(tmp_path)
    texts = ("dataset", "eval_dataset", "method", "encoder", "weights", "assign_by")
    texts += ("fingerprint", "start")
    if value == "x" and name in texts:
        value = 7
    run.config.write_text(json.dumps(altered({name: value})))
    with pytest.raises(RunError, match=f"--{name.replace('_', '-')} should be"):
        run.read_config()


def test_a_field_that_is_there_twice_is_refused(tmp_path):
    run = RunFolder(tmp_path)
    text = json.dumps(GOOD)
    for twice in (
        text[:-1] + ', "epochs": 3}',
        text.replace('"clusters"', '"epochs": 3, "epochs"'),
    ):
        run.config.write_text(twice)
        with pytest.raises(RunError, match="epochs more than once"):
            run.read_config()


OPTIONS = st.sampled_from([*build_parser()._option_string_actions, "--no-such-option", "--"])
WORDS = st.one_of(
    NUMBERS.map(str),
    st.text(max_size=8),
    st.sampled_from(
        [
            "",
            "nan",
            "-inf",
            "1e999",
            "0x10",
            "9" * 5000,
            "\u0661",
            "1_0",
            "\udcff",
            "a\0b",
            "\n",
            "~",
        ]
    ),
)
DATASETS = st.sampled_from(["folder:nowhere", "folder:\udcff", "folder:", "tfds:", "digit", "é"])


@given(DATASETS | st.none(), st.lists(st.tuples(OPTIONS, st.lists(WORDS, max_size=3)), max_size=4))
@example(None, [("--run-dir", [""])])
@example("folder:nowhere", [("--run-dir", ["\udcff"])])
@example("folder:nowhere", [("--run-dir", ["a\0b"])])
@example("folder:nowhere", [("--run-dir", ["x" * 5000])])
@example("folder:nowhere", [("--width", ["9" * 300])])
def test_any_command_line_without_images_is_refused_in_one_line(dataset, options):
    """No data set named here can be had, so nothing is ever trained."""
    arguments = [] if dataset is None else [f"--dataset={dataset}"]
    arguments += [word for option, values in options for word in (option, *values)]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        code, text = main(*arguments)
        helped = code == 0 and {"-h", "--help"} & set(arguments)
        assert helped or (code == 2 and "error: " in text)
        assert not list(Path().iterdir())


def test_a_process_says_so_without_a_traceback(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_bytes(b"\x80")
    for arguments in (
        ["--dataset", b"folder:\xff\xfe"],
        ["--dataset", "digits", "--width", "10000000000000000000000"],
        ["--run-dir", "run", "--resume"],
        ["--dataset", "digits", "--run-dir", b"\xff"],
        ["--dataset", "digits", "--run-dir", "run/config.json"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "cueco_tf.train", *arguments],
            capture_output=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(train.__file__).parents[1])},
        )
        assert b"Traceback" not in done.stderr + done.stdout
        assert done.returncode == 2, done.stderr
        assert done.stderr.strip().splitlines()[-1].startswith(b"error: ")
        assert [path.name for path in tmp_path.iterdir()] == ["run"]
