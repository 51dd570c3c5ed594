"""Checkpoints of the whole training state: atomic, versioned, checked, never unpickled.

A checkpoint is an `.npz` file of every weight, every optimizer variable and the running means of
the epoch under way, so that training goes on bit for bit, in the middle of an epoch as well.
"""

import io
import json
import re
import threading
import warnings
from pathlib import Path

import numpy as np

from cueco_tf.storage import write_atomically

FORMAT_VERSION = 3
_UNSETTLED = 2  # the same without the two last weights, the clusters that training ends with
_HEADER = "header"


class CheckpointError(RuntimeError):
    """No usable checkpoint; the message says why."""


def _variables(model):
    """All state by its place in the order of declaration: Keras numbers its names anew in each
    process, and another model before this one would shift them.

    Each comes as the tuple of its copies on this process's replicas, which all hold the same. Read
    as a whole, Keras's metrics are summed over replicas: that would count ours several times, and
    wait for the other processes when the chief alone saves.
    """
    copies = model.distribute_strategy.experimental_local_results
    groups = {
        "weight": model.weights,
        "optimizer": model.optimizer.variables,
        "metric": model.metrics_variables,
    }
    return {
        f"{group}/{i:04d}": copies(variable.value)
        for group, variables in groups.items()
        for i, variable in enumerate(variables)
    }


def save(folder, model, keep=2):
    """Writes `folder/step-N.npz` and removes all but the newest `keep` checkpoints.

    Raises:
        FloatingPointError: for a state that is not finite, which must not replace a good one.
    """
    _write(folder, int(model.step.numpy()), _arrays(model), keep)


class Saver:
    """Saves beside training: a state is copied at once and written by a thread, one at a time.

    Args:
        folder: path of the checkpoints.
    """

    def __init__(self, folder):
        self.folder, self._thread, self._error = folder, None, None

    def save(self, model):
        """Begins to do what the function `save` does, once the checkpoint before is written.

        Raises:
            FloatingPointError, OSError: what stopped the checkpoint before.
        """
        self.wait()
        state = self.folder, int(model.step.numpy()), _arrays(model), 2
        self._thread = threading.Thread(target=self._attempt, args=state, name="checkpoint")
        self._thread.start()

    def settle(self):
        """Returns once nothing is being written, whatever came of it."""
        if self._thread is not None:
            self._thread.join()

    def wait(self):
        """Returns once nothing is being written.

        Raises:
            FloatingPointError, OSError: what stopped the last checkpoint.
        """
        self.settle()
        self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _attempt(self, *state):
        try:
            _write(*state)
        except (FloatingPointError, OSError) as error:
            self._error = error


def _write(folder, step, arrays, keep):
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise FloatingPointError(f"At step {step} the state is no longer finite ({name}).")

    def write(path):
        with open(path, "wb") as file:
            np.savez(file, **arrays)

    write_atomically(Path(folder, f"step-{step:09d}.npz"), write)
    for old in find(folder)[keep:]:
        old.unlink()


def _arrays(model):
    header = json.dumps({"format_version": FORMAT_VERSION, "step": int(model.step.numpy())})
    # Copies: on the CPU `numpy` may look at memory that the next step changes.
    arrays = {name: np.array(copies[0]) for name, copies in _variables(model).items()}
    return arrays | {_HEADER: np.frombuffer(header.encode(), np.uint8)}


def pack(model):
    """A model's whole state as bytes, for a process that has another copy of the model."""
    file = io.BytesIO()
    np.savez(file, **_arrays(model))
    return file.getvalue()


def unpack(content, model):
    """Gives a compiled model with a built optimizer the state in what `pack` returned.

    Returns:
        A function that puts the epoch's running means back, as `restore` does.
    """
    return _assign("The state received", *_read(io.BytesIO(content)), _variables(model))


def find(folder):
    """The checkpoints in a folder, newest first."""
    names = [path for path in Path(folder).glob("*.npz") if re.fullmatch(r"step-\d+", path.stem)]
    return sorted(names, reverse=True)


def restore(folder, model, weights_only=False):
    """Loads the newest undamaged checkpoint into a compiled model.

    A damaged one is passed over with a warning.

    Args:
        folder: path.
        model: a compiled model with a built optimizer.
        weights_only: leave the optimizer and the running means alone, so that they may be of
            another kind (mixed precision wraps the optimizer). Defaults to False.

    Returns:
        A function that puts the epoch's running means back, for Keras resets them when an epoch
        begins; or None when the folder holds no checkpoint.

    Raises:
        CheckpointError: when all are damaged, or one is of another format or another model.
    """
    paths = find(folder)
    for path in paths:
        try:
            header, arrays = _read(path)
        except Exception as error:  # a damaged file can make the readers below raise anything
            if find(folder) != paths:  # training goes on meanwhile, and has taken it away
                return restore(folder, model, weights_only)
            message = f"Checkpoint {path} is damaged ({error}); trying the one before."
            warnings.warn(message, stacklevel=2)
            continue
        variables = _variables(model)
        if weights_only:
            variables, arrays = (
                {name: group[name] for name in group if name.startswith("weight/")}
                for group in (variables, arrays)
            )
        return _assign(path, header, arrays, variables)
    if paths:
        raise CheckpointError(f"All checkpoints in {folder} are damaged: the run cannot go on.")
    return None


def _read(path):
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}  # reading checks each array's CRC-32
    header = json.loads(bytes(arrays.pop(_HEADER)))
    return header, arrays


def _assign(path, header, arrays, variables):
    if header["format_version"] == _UNSETTLED:
        weights = [name for name in variables if name.startswith("weight/")]
        missing = set(weights[-2:]) - arrays.keys()
        variables = {name: copies for name, copies in variables.items() if name not in missing}
    elif header["format_version"] != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} is of format {header['format_version']}, this version of cueco_tf reads "
            f"{FORMAT_VERSION}. Resume with the version that wrote it."
        )
    if variables.keys() != arrays.keys():
        odd = sorted(variables.keys() ^ arrays.keys())[0]
        raise CheckpointError(f"{path} is of another model: {odd!r} is in one of them only.")
    for name, (copy, *_) in variables.items():
        if tuple(copy.shape) != arrays[name].shape:
            raise CheckpointError(
                f"{path} is of another model: {name} should have shape {tuple(copy.shape)}. "
                f"Received: {arrays[name].shape}"
            )

    def put_back(prefix=""):
        for name, copies in variables.items():
            if name.startswith(prefix):
                for copy in copies:
                    copy.assign(arrays[name])

    put_back()
    return lambda: put_back("metric/")
