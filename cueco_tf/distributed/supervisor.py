"""Runs one worker of several as a child process, and starts it again when the group breaks.

When a worker dies, the others cannot go on: TensorFlow ends their step with an error after some
ten seconds, and they exit as well. Each worker has a supervisor, all of which then start their
workers again, and these resume from the chief's last checkpoint.
"""

import os
import signal
import subprocess
import sys
import threading
import time

from cueco_tf.process import handling

MAX_FAILURES = 5
LONG = 900  # seconds: a worker that ran for so long has made progress, and failures count anew
PAUSE = 15  # seconds, in which the survivors notice that the group is broken

_SUPERVISED = "CUECO_TF_SUPERVISED"
# Finished, refused, diverged, or stopped by SIGINT or SIGTERM: no reason to try again.
_FINAL = (0, 2, 3, 130, 143)


def is_supervised():
    """Whether this process is a supervisor's child."""
    return _SUPERVISED in os.environ


def supervise(arguments, cluster):
    """Runs `python -m cueco_tf.train` with these arguments until it has come to an end.

    It is started again, with `--resume`, when a signal kills it or it fails; not when it is
    finished, refuses what it was given, or was told to stop.

    Args:
        arguments: list of strings.
        cluster: `distribution.Cluster`.

    Returns:
        The exit code of the last process; 1 after `MAX_FAILURES` failures in a row.
    """
    environment = {**os.environ, _SUPERVISED: "1", "TF_CONFIG": cluster.tf_config()}
    command = [sys.executable, "-m", "cueco_tf.train", *arguments]
    failures, stop = 0, _Stop()
    with handling(stop.hand_on, signal.SIGINT, signal.SIGTERM):
        while True:
            began = time.monotonic()
            code = stop.wait_for(_start(command, environment))
            if code in _FINAL or stop.received:
                return code if code >= 0 else 128 - code
            failures = 1 if time.monotonic() - began > LONG else failures + 1
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else "failed"
            print(f"Worker {cluster.index} {how}, {failures} of at most {MAX_FAILURES} times.")
            if failures == MAX_FAILURES:
                print(f"error: worker {cluster.index} gives up.", file=sys.stderr)
                return 1
            print(f"Starting it again in {PAUSE} seconds ...", flush=True)
            time.sleep(PAUSE)
            command = [*command, *(() if "--resume" in command else ["--resume"])]


def exit_with_supervisor():
    """Ends this process when its supervisor dies, lest it hold on to the worker's port."""

    def watch():
        os.read(sys.stdin.fileno(), 1)  # returns at the end of a pipe that nobody writes to
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _start(command, environment):
    # In a session of its own, so that Ctrl-C in a terminal does not reach it twice.
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, start_new_session=True)


class _Stop:
    """Hands SIGINT and SIGTERM on to the child; a second one kills it."""

    def __init__(self):
        self.child, self.received = None, False

    def wait_for(self, child):
        """Waits for the child's end; its exit code, negative for a signal."""
        self.child = child
        return child.wait()

    def hand_on(self, number, frame):
        """Handles a signal."""
        if self.child is None or self.child.poll() is not None:
            raise SystemExit(128 + number)
        self.child.send_signal(signal.SIGKILL if self.received else number)
        self.received = True
