"""What belongs to the whole process: a command borrows it, and gives it back as it was.

A command is a function that a program may call: from any thread, twice, beside another.
"""

import contextlib
import functools
import logging
import os
import random
import re
import signal
import sys
import threading
import warnings
from pathlib import Path

from cueco_tf.settings.parser import as_typed

NOT_FINITE = 3  # exit code of a training that ended in NaN or infinity
_QUIET = ("tensorflow", "absl", "tf2onnx", "urllib3")  # loggers whose errors alone are shown
_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"  # what TensorFlow's C++ code reads; 2: errors
_BACKEND = "KERAS_BACKEND"  # what Keras reads when it is imported
# What TensorFlow's libraries say while they are loaded, before anyone can tell them not to.
_NOTES = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog|"
    rb"[IWE]\d{4} [\d:.]+ +\d+ (port|cudart_stub|cuda_platform|cuda_\w+|computation_placer|"
    rb"cpu_feature_guard)\.cc:"
)
_STOPPED = 128 + signal.SIGINT

_lock, _borrowers, _give_back = threading.Lock(), 0, contextlib.ExitStack()


def command(main):
    """Decorates the `main(argv=None)` of a command, which returns an exit code.

    Warnings become sentences on stderr, file names that are no text can be printed, and TensorFlow
    and its like speak of errors only; afterwards all is as before. Ctrl-C that `main` does not deal
    with gives 130, and a library that is not installed 2, both with a line on stderr.
    """

    @functools.wraps(main)
    def run(*arguments, **named):
        with _borrowed():
            try:
                return main(*arguments, **named)
            except KeyboardInterrupt:
                return fail("stopped.", _STOPPED)
            except ModuleNotFoundError as error:
                if (error.name or "").partition(".")[0] not in ("tensorflow", "keras"):
                    raise
                return fail("This needs TensorFlow, which is not installed: pip install .")

    return run


def twin(function):
    """Decorates the function of Python that does what a command does: what belongs to the process
    is borrowed as by the command, so that it is as quiet."""

    @functools.wraps(function)
    def run(*arguments, **named):
        with _borrowed():
            return function(*arguments, **named)

    return run


def fail(error, code=2):
    """Says on stderr, in one line, why a command failed.

    Args:
        error: an exception or a text, of which the first line is said.
        code: integer, the exit code. Defaults to 2.

    Returns:
        The exit code.
    """
    print(as_typed(f"error: {error}".splitlines()[0]), file=sys.stderr)
    return code


def suggest(*commands):
    """Prints what may be done next.

    Args:
        *commands: texts, each a command as a module's, `python -m ...`.
    """
    for number, text in enumerate(commands):
        print(f"{'      ' if number else 'Next: '}{as_typed(text)}")


@contextlib.contextmanager
def handling(handler, *numbers):
    """Handles signals by a function while it is entered, where it is entered in the main thread:
    Python has signals handled there alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in former.items():
            # None stands for one that was not made in Python.
            signal.signal(number, handler or signal.SIG_DFL)


@contextlib.contextmanager
def seeded(seed):
    """Draws weights by a seed while it is entered, and leaves the process's random numbers as they
    were: where Keras's initializers have no seed, they draw one by Python's `random`."""
    former = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(former)


def import_tensorflow():
    """TensorFlow. Where this imports it, without the notes that its libraries write to stderr.

    Everything else that is written meanwhile is shown at the end.
    """
    if "tensorflow" not in sys.modules:
        import cueco_tf.progress  # noqa: F401 (before others who import tqdm, and warn)

        with _notes_held_back():
            import tensorflow

            tensorflow.config.list_physical_devices()  # the first look at them has notes as well
    return sys.modules["tensorflow"]


def end_quietly_at_ctrl_c():
    """Until a command begins, Ctrl-C ends the process in a line, where this process is a command.

    That is while its modules are imported. In other programs it does nothing.
    """
    if not _is_command(sys.orig_argv) or signal.getsignal(signal.SIGINT) not in _BEGUN:
        return
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _end)


def _is_command(arguments):
    """Whether a process was started as a command of ours, as a module or as a script."""
    module = arguments[arguments.index("-m") + 1 :][:1] if "-m" in arguments else []
    script = Path(sys.argv[0] if sys.argv else "").name
    return script.startswith("cueco-") or any(
        name.startswith(("cueco_tf.", "pipelines.")) for name in module
    )


def _end(number, frame):
    os.write(2, b"error: stopped.\n")
    os._exit(_STOPPED)


_BEGUN = (signal.default_int_handler, _end)


@contextlib.contextmanager
def _borrowed():
    """Borrows what belongs to the process; of several at once the last one gives it back."""
    global _borrowers
    with _lock:
        if not _borrowers:
            _borrow(_give_back)
        _borrowers += 1
    try:
        yield
    finally:
        with _lock:
            _borrowers -= 1
            if not _borrowers:
                _give_back.close()


def _borrow(give_back):
    main_thread = threading.current_thread() is threading.main_thread()
    if main_thread and signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in _QUIET:
        logger = logging.getLogger(name)
        give_back.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.ERROR)
    for name in (_LOG_LEVEL, _BACKEND):  # tf2onnx changes the first as well
        give_back.callback(_set_variable, name, os.environ.get(name))
    os.environ.setdefault(_LOG_LEVEL, "2")
    os.environ[_BACKEND] = "tensorflow"
    give_back.callback(setattr, warnings, "formatwarning", warnings.formatwarning)
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    if hasattr(sys.stdout, "reconfigure"):
        give_back.callback(sys.stdout.reconfigure, errors=sys.stdout.errors)
        sys.stdout.reconfigure(errors="backslashreplace")
    give_back.callback(_round_to_tf32, "tensorflow" not in sys.modules or _rounds_to_tf32())


def _set_variable(name, value):
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _rounds_to_tf32():
    return sys.modules["tensorflow"].config.experimental.tensor_float_32_execution_enabled()


def _round_to_tf32(enabled):
    """Gives back what building a model switches off; it is on where TensorFlow begins."""
    if "tensorflow" in sys.modules:
        tensorflow = sys.modules["tensorflow"]
        tensorflow.config.experimental.enable_tensor_float_32_execution(enabled)


@contextlib.contextmanager
def _notes_held_back():
    """Passes on what is written to the process's stderr, when it ends, but for `_NOTES`."""
    try:
        stderr = os.dup(2)
    except OSError:  # there is none
        yield
        return
    import tempfile

    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            for line in held:
                if not _NOTES.match(line):
                    os.write(2, line)
