"""The documentation: `make docs`. Pages are Markdown, the reference comes from the docstrings, and
the command line from the commands' own `--help`."""

import contextlib
import importlib
import io
import os
from pathlib import Path

import cueco_tf

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["COLUMNS"] = "100"  # of the help texts

project = "cueco_tf"
copyright = "the cueco_tf authors"
version = release = cueco_tf.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx.ext.intersphinx",
    "myst_nb",
]
exclude_patterns = ["_build"]
default_role = "code"
html_theme = "furo"
html_title = f"cueco_tf {version}"
html_show_sourcelink = False
nb_execution_mode = "off"  # `make notebooks` runs them, and they keep what they showed
myst_enable_extensions = ["colon_fence", "linkify"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
intersphinx_mapping = {}
suppress_warnings = ["myst.header"]  # a generated table may begin below the first level

_COMMANDS = (
    "evaluate",
    "report",
    "export",
    "embed",
    "clusters",
    "duplicates",
    "search",
    "reproduce",
    "endurance",
)


def _help_of(parser):
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        parser.print_help()
    return f"```text\n{text.getvalue().rstrip()}\n```\n"


def _sub_parsers(parser):
    for action in parser._actions:
        if hasattr(action, "choices") and isinstance(action.choices, dict):
            yield from action.choices.items()


def _write_command_line(app):
    """Writes the page of all commands from their parsers."""
    from cueco_tf.settings.command_line import build_parser
    from cueco_tf.settings.methods import METHODS

    lines = ["# The command line", "", "What `--help` says, of every command.", ""]
    lines += ["## python -m cueco_tf.train", "", _help_of(build_parser("cueco"))]
    for name, kind in METHODS.items():
        lines += [f"### --method {name}", "", kind.summary[0].upper() + kind.summary[1:] + ".", ""]
        lines += ["| option | default | |", "|---|---|---|", *_options_of(kind), ""]
    for name in _COMMANDS:
        parser = importlib.import_module(f"pipelines.{name}").build_parser()
        lines += [f"## python -m pipelines.{name}", "", _help_of(parser)]
        for command, own in _sub_parsers(parser):
            lines += [f"### {name} {command}", "", _help_of(own)]
    target = Path(app.srcdir, "command-line.md")
    text = "\n".join(lines)
    if not target.exists() or target.read_text() != text:
        target.write_text(text)


def _options_of(kind):
    from cueco_tf.settings.fields import options_of

    for field in options_of(kind):
        default = field.metadata["unset"] if field.default is None else field.default
        if isinstance(default, tuple):
            default = " ".join(f"{number:g}" for number in default)
        yield f"| `--{field.name.replace('_', '-')}` | {default} | {field.metadata['help']} |"


def setup(app):
    """Sphinx calls this."""
    app.connect("builder-inited", _write_command_line)
