"""Kills a training run over and over, and compares what it becomes with an undisturbed run.

The run is the ordinary command line in a process of its own. Where it is killed is known from
outside: on another signal it writes its stack down, and SIGKILL follows within 20 ms.
"""

import itertools
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import cueco_tf
from cueco_tf.running import checkpoints
from cueco_tf.running.run_folder import RunFolder

# What a kill waits for after its random delay, in turn.
AIMS = ("step", "checkpoint", "evaluation", "anywhere", "start-up")
_OPTIONS = [
    *("--dataset", "digits", "--image-size", "8", "--width", "8"),
    *("--batch-size", "256", "--queue-size", "300"),
]

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
_STILL_TO_COME = 6  # epochs
_HOME = Path(cueco_tf.__file__).parent


class ChaosError(RuntimeError):
    """A run that did not go on after a kill; the message holds what it printed last."""


def chaos(folder, kills, epochs, seed=0):
    """Trains on the digits twice, once with SIGKILLs at random moments, and compares the two.

    Args:
        folder: path of an empty or new folder for both runs.
        kills: integer >= 1.
        epochs: integer >= 7.
        seed: integer, for the moments.

    Returns:
        A dict: `kills`, one dict each (`aim`, `phase`, `where`, `checkpoint_step`,
        `half_written`: files that the kill cut off); `arrays`, the number compared; `differing`,
        the names of arrays that are not bit-identical; `epochs`, the epochs that were recorded;
        `identical`, whether weights, optimizer, queue, clusters, metrics and final scores are.

    Raises:
        ChaosError: when a life ends by itself in an error, or before its kill.
    """
    folder = Path(folder)
    arguments = [*_OPTIONS, "--epochs", str(epochs)]
    calm, disturbed = (RunFolder(folder / name) for name in ("undisturbed", "disturbed"))
    life = _Life(calm, arguments)
    life.wait_until(calm.snapshot(0).exists)
    startup = life.age()
    life.finish()
    last, former = (path.stat().st_mtime for path in checkpoints.find(calm.checkpoints))
    per_epoch = last - former

    rng = random.Random(seed)
    hits = []
    for epoch, aim in _plan(kills, epochs, rng):
        life = _Life(disturbed, arguments)
        if aim == "start-up":
            time.sleep(rng.uniform(0, startup / 2))
        else:
            life.wait_for_step(epoch * _steps(calm) // epochs)
            time.sleep(rng.uniform(0, per_epoch))
        hit = life.kill(aim, rng)
        if hit is None:  # the run was over before its moment had come
            break
        phase, where = hit
        hits.append(
            {
                "aim": aim,
                "phase": phase,
                "where": where,
                "checkpoint_step": _steps(disturbed),
                "half_written": sorted(p.name for p in disturbed.path.rglob(".partial-*")),
            }
        )
    _Life(disturbed, arguments).finish()
    return {"kills": hits, **compare(calm, disturbed)}


def compare(one, other):
    """Whether two finished runs are the same but for what their clocks said: see `chaos`."""
    arrays = [dict(np.load(checkpoints.find(run.checkpoints)[0])) for run in (one, other)]
    names = sorted(arrays[0].keys() | arrays[1].keys())
    differing = [
        name
        for name in names
        if any(name not in each for each in arrays)
        or arrays[0][name].tobytes() != arrays[1][name].tobytes()
    ]
    metrics = [
        [{**row, "images_per_second": None} for row in run.read_metrics(run.read_config())]
        for run in (one, other)
    ]
    summaries = [run.read_summary() for run in (one, other)]
    recorded = [int(row["epoch"]) for row in metrics[1]]
    return {
        "arrays": len(names),
        "differing": differing,
        "epochs": recorded,
        "identical": not differing
        and metrics[0] == metrics[1]
        and summaries[0] == summaries[1]
        and recorded == list(range(1, len(recorded) + 1)),
    }


def _plan(kills, epochs, rng):
    """(epoch after which, aim) of each kill, in order. Some epochs are always still to come, in
    which what is aimed at can be met: a checkpoint is written in milliseconds."""
    aims = itertools.islice(itertools.cycle(AIMS), kills)
    drawn = [(rng.randint(1, epochs - _STILL_TO_COME), aim) for aim in aims]
    return sorted(drawn, key=lambda pair: pair[0])


def _steps(run):
    found = checkpoints.find(run.checkpoints)
    return int(found[0].stem.removeprefix("step-")) if found else 0


class _Life:
    """A process that trains, from its start to its end."""

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
        """Waits for something that the living process brings about."""
        while not ready():
            self._check_alive()
            time.sleep(0.01)

    def wait_for_step(self, step):
        """Waits for a checkpoint of this step or a later one."""
        self.wait_until(lambda: _steps(self.run) >= step)

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
        """Kills the process once it does what is aimed at; returns the last (phase, place), or None
        when it came to its regular end before."""
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
