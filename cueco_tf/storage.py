"""Files and folders that appear whole or not at all.

What is under way has a name of its own, which no two processes share. Who owns a path (`ownership`)
also takes away what killed processes left of it.
"""

import contextlib
import hashlib
import os
import re
import secrets
import shutil
from pathlib import Path


def write_atomically(path, write):
    """Calls `write(temporary path)` and moves the result to `path` once it is safely on disk.

    A reader sees the old file or the new one, never a part; a failure leaves the old one. Of
    several writers at once the last one counts. The temporary path has the same suffix.
    """
    path = Path(path)
    temporary = path.with_name(f".partial-{secrets.token_hex(4)}-{path.name}")
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


def disk_of(path):
    """The folder that a path lies in, or is going to, or while it is not there one above."""
    return next(folder for folder in Path(path).absolute().parents if folder.exists())


def free_space(path):
    """The bytes that are free on the disk of a path, which need not be there."""
    return shutil.disk_usage(disk_of(path)).free


def sha256(path):
    """The sha256 of a file's content, as hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_partials(path):
    """Takes away what killed processes left of a file under way. For the file's owner alone."""
    path = Path(path)
    ours = re.compile(rf"\.partial-([0-9a-f]{{8}}-)?{re.escape(path.name)}")
    for partial in path.parent.glob(".partial-*"):
        if ours.fullmatch(partial.name):
            partial.unlink()


@contextlib.contextmanager
def new_folder(path):
    """A folder to fill that becomes `path` at the end, all at once, in the place of an old one.

    A failure leaves nothing of the new folder, and the old one as it was. The caller owns the path:
    what killed processes left beside it is taken away or, where the old folder is only there, put
    back first.
    """
    _mend(path)
    token = secrets.token_hex(4)
    partial, former = (
        path.with_name(f".{path.name}-{state}-{token}") for state in ("partial", "former")
    )
    partial.mkdir(parents=True)
    try:
        yield partial
        if path.exists():
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


def _mend(path):
    """Takes away what killed processes left of a folder, but for the only copy of the old one."""
    ours = re.compile(rf"\.{re.escape(path.name)}-(partial|former)(-[0-9a-f]{{8}})?")
    for left in sorted(path.parent.glob(".*")):
        if found := ours.fullmatch(left.name):
            if found[1] == "former" and not path.exists():
                left.rename(path)
            else:
                shutil.rmtree(left, ignore_errors=True)
