"""A training run in a process of its own, which can be killed where it does something.

The run is the ordinary command line. What it is doing is known from outside: on another signal it
writes its stack down, and SIGKILL follows within 20 ms.
"""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import cueco_tf

_CHILD = """
import json, os, signal, sys, threading
stacks = os.open(sys.argv[1] + ".new", os.O_CREAT | os.O_WRONLY)

def write_stack(number, frame):
    # Checkpoints are written by a thread.
    others = [f for i, f in sys._current_frames().items() if i != threading.get_ident()]
    stack = []
    for frame in (*others, frame):
        while frame is not None:
            stack.append((frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
            frame = frame.f_back
    os.write(stacks, json.dumps(stack).encode() + b"\\n")

signal.signal(signal.SIGUSR1, write_stack)
signal.siginterrupt(signal.SIGUSR1, False)
os.rename(sys.argv[1] + ".new", sys.argv[1])  # from here on the signal may come
from cueco_tf.train import main
code = main(sys.argv[2:])
signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # else the interpreter's end makes it deadly again
sys.exit(code)
"""
_LAST_MOMENTS = 0.02  # seconds at most from the stack to SIGKILL, so that it falls anywhere
_LIFE_TIMEOUT = 3600.0
_HOME = Path(cueco_tf.__file__).parent


class ChaosError(RuntimeError):
    """A run that did not go on after a kill; the message holds what it printed last."""


class Life:
    """A process that trains, from its start to its end.

    Args:
        run: `RunFolder`, begun or gone on with; beside it lie the process's log and its stacks.
        arguments: list of strings: the options of training.

    Raises:
        ChaosError: when it ends before it can be asked for its stack.
    """

    def __init__(self, run, arguments):
        self.run = run
        self.stacks = run.path.with_name(f"{run.path.name}-stacks.txt")
        self.log = run.path.with_name(f"{run.path.name}-log.txt")
        self.stacks.parent.mkdir(parents=True, exist_ok=True)
        self.stacks.unlink(missing_ok=True)
        command = [sys.executable, "-c", _CHILD, str(self.stacks), *arguments]
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                [*command, "--run-dir", str(run.path), "--resume"], stdout=log, stderr=log
            )
        self.born = time.monotonic()
        self.wait_until(self.stacks.exists)

    def age(self):
        """Seconds since the start."""
        return time.monotonic() - self.born

    def wait_until(self, ready):
        """Waits for something that the living process brings about.

        Args:
            ready: function without arguments, asked a hundred times a second.

        Raises:
            ChaosError: when the process ends before, or takes more than an hour.
        """
        while not ready():
            self._check_alive()
            time.sleep(0.01)

    def _check_alive(self):
        late = self.age() > _LIFE_TIMEOUT
        if late:
            self.process.kill()
        if late or self.process.poll() is not None:
            code = "no end" if late else f"exit code {self.process.wait()}"
            last = self.log.read_text().strip().splitlines()[-3:]
            raise ChaosError(f"{self.run.path}: {code} before the kill: {' / '.join(last)}")

    def finish(self):
        """Waits for the regular end.

        Raises:
            ChaosError: for another exit code than 0.
        """
        if self.process.wait() != 0:
            self._check_alive()

    def kill(self, aim, rng):
        """Kills the process once it does what is aimed at.

        Args:
            aim: a phase of `locate`, or `"anywhere"`.
            rng: `random.Random`, for the moment.

        Returns:
            The last `(phase, place)`, as of `locate`, or None when the process came to its regular
            end before.

        Raises:
            ChaosError: when it ends in an error.
        """
        while True:
            stack = self._stack()
            if stack is None:
                return None
            phase, where = locate(stack)
            if aim in ("anywhere", phase):
                time.sleep(rng.uniform(0, _LAST_MOMENTS))
                self.process.send_signal(signal.SIGKILL)
                self.process.wait()
                return phase, where
            time.sleep(rng.uniform(0, 0.02))

    def _stack(self):
        """What the process was just doing, for `locate`; None after its regular end."""
        known = self.stacks.stat().st_size
        self.process.send_signal(signal.SIGUSR1)
        while True:
            with open(self.stacks) as file:
                file.seek(known)
                text = file.read()
            if text.endswith("\n"):
                return [(Path(file), line, name) for file, line, name in json.loads(text)]
            if self.process.poll() == 0:
                return None
            self._check_alive()
            time.sleep(0.001)


def locate(stack):
    """What a stack is busy with.

    Args:
        stack: list of `(path, line, function)`, the innermost call first; those of other threads
            come before the main thread's.

    Returns:
        `(phase, place)`: the innermost "module:line function" of `cueco_tf`.
    """
    own = [(_module(path), line, name) for path, line, name in stack if _HOME in path.parents]
    running = {(module, name) for module, _, name in own}
    keras = {name for path, _, name in stack if path.name == "trainer.py"}
    scores = {name for module, name in running if module.startswith("evaluation.")}
    if ("storage", "write_atomically") in running:
        saves = ("running.checkpoints", "_write") in running
        phase = "checkpoint" if saves else "another file"
    elif "predict" in keras or scores - {"<module>"}:
        phase = "evaluation"
    # While `train_step` runs in Python, the graph is built.
    elif "fit" in keras and "train_step" not in {name for _, name in running}:
        phase = "step"
    else:
        phase = "start-up"
    return phase, "{}:{} {}".format(*own[0]) if own else ""


def _module(path):
    return ".".join(path.relative_to(_HOME).with_suffix("").parts)
