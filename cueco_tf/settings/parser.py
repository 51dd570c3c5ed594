"""A command line's parser that refuses in one line."""

import argparse
import difflib
import re
import sys
from pathlib import Path


def as_typed(text):
    """A text with the commands in it called as they are here: by the scripts' names where this
    process is one of them, such as `cueco-train`, else as modules."""
    if not Path(sys.argv[0] if sys.argv else "").name.startswith("cueco-"):
        return text
    return re.sub(r"python -m (?:cueco_tf|pipelines)\.(\w+)", r"cueco-\1", text)


class Parser(argparse.ArgumentParser):
    """`argparse.ArgumentParser`, for help that is printed as it was written.

    What it does not understand it refuses in one line that names the options nearest to it.

    Args:
        module: the command's module, as in `python -m MODULE`; a script of ours shows its own name.
        **options: as of `argparse.ArgumentParser`.
    """

    def __init__(self, module=None, **options):
        if module is not None:
            options["prog"] = as_typed(f"python -m {module}")
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(**options)

    def format_help(self):
        """The text of `--help`."""
        return as_typed(super().format_help())

    def command(self, name):
        """The parser of one of its commands.

        Raises:
            ValueError: where there is no such command.
        """
        commands = {key: parser for known in self._commands() for key, parser in known.items()}
        if name not in commands:
            raise ValueError(f"There is no {name!r}, but {', '.join(commands)}.")
        return commands[name]

    def error(self, message):
        """Ends the process with exit code 2 and one line on stderr."""
        meant = " or ".join(dict.fromkeys(self._nearest(message)))
        hint = f" Did you mean {meant}?" if meant else ""
        text = f"error: {message.rstrip('.')}.{hint} See: {self.prog} --help\n"
        self.exit(2, as_typed(text))

    def _nearest(self, message):
        """The options nearest to those in a message that are none."""
        known = set(self._all_options())
        for word in message.split():
            option = word.partition("=")[0].rstrip(":,")
            if option.startswith("--") and option not in known:
                yield from difflib.get_close_matches(option, known, 1, 0.7)

    def _all_options(self):
        yield from self._option_string_actions
        for commands in self._commands():
            for parser in commands.values():
                yield from parser._all_options()

    def _commands(self):
        return (a.choices for a in self._actions if isinstance(a, argparse._SubParsersAction))
