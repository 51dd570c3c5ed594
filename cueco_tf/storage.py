"""Files and folders that appear whole or not at all."""

import contextlib
import os
import shutil
from pathlib import Path


def write_atomically(path, write):
    """Calls `write(temporary path)` and moves the result to `path` once it is safely on disk.

    A reader sees the old file or the new one, never a part; a failure leaves the old one.
    """
    path = Path(path)
    temporary = path.with_name(f".partial-{path.name}")
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a write that fails does not say where
        raise
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def new_folder(path):
    """A folder to fill that becomes `path` at the end, all at once, in the place of an old one.

    A failure leaves nothing of the new folder, and the old one as it was.
    """
    partial, former = (path.with_name(f".{path.name}-{state}") for state in ("partial", "former"))
    shutil.rmtree(partial, ignore_errors=True)  # left by a killed process
    partial.mkdir(parents=True)
    try:
        yield partial
        if path.exists():
            shutil.rmtree(former, ignore_errors=True)
            path.rename(former)
        try:
            partial.rename(path)
        except OSError:
            if former.exists():
                former.rename(path)
            raise
        shutil.rmtree(former, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
