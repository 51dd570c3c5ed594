"""A module run by a process of its own, to its end."""

import math
import signal
import subprocess
import sys

from cueco_tf.process import handling


def run(arguments, seconds=math.inf):
    """Runs a module of this Python and returns its exit code, as a shell counts it. The first
    Ctrl-C reaches the child as well, which saves; so this process waits for it. When the seconds
    are over the child is asked to save and stop."""
    child = subprocess.Popen([sys.executable, "-m", *arguments])

    def hand_on(number, frame):
        if number == signal.SIGTERM:
            child.terminate()

    with handling(hand_on, signal.SIGINT, signal.SIGTERM):
        try:
            code = child.wait(None if math.isinf(seconds) else max(seconds, 0.0))
        except subprocess.TimeoutExpired:
            child.terminate()
            code = child.wait()
    return 128 - code if code < 0 else code
