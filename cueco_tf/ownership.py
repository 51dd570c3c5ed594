"""Who works on a file or a folder: one process at a time, known by its name.

What takes longer than a moment to make is owned from the beginning to the end: a run, embeddings,
an export, a report. The lock is the operating system's, on `.NAME.lock` beside what is owned. It
ends with its process, however that ends, and holds between machines that share a disk where the
disk has locks, as NFS has. Readers own nothing: what they read appears whole (`storage`).
"""

import contextlib
import dataclasses
import errno
import os
import socket
import sys
import time
from pathlib import Path

import filelock

LOCK = ".lock"
# What a disk without locks says; the file alone then is the lock, which a crash leaves behind.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
_LOOK_AGAIN = 0.1  # seconds
_NAMELESS = 10  # looks at a lock whose holder has not yet written who it is


class InUseError(ValueError):
    """Another process works on it; the message names that process."""


@dataclasses.dataclass(frozen=True)
class Holder:
    """Who holds a lock: a process's `number`, its `host`, and whether it is about to end."""

    number: str
    host: str
    leaving: bool

    def __str__(self):
        return f"process {self.number} on {self.host}"


class Owner:
    """What `own` gives its block.

    Args:
        lock: a `filelock.FileLock` that is held.
    """

    def __init__(self, lock):
        self._path = Path(lock.lock_file)
        # Where a disk has no locks, filelock itself writes who holds it, and takes it away.
        self._writes = not isinstance(lock, filelock.SoftFileLock)

    def leave(self):
        """Says that this process saves and ends: who comes to take over may wait for that."""
        with contextlib.suppress(OSError):  # what matters is the saving
            self.tell("leaving\n")

    def tell(self, state=""):
        """Writes into the lock's file who holds it."""
        if self._writes:
            self._path.write_text(f"{os.getpid()}\n{socket.gethostname()}\n{state}")

    def remove(self):
        """Takes the lock's file away while it is held: who waits for it notices, and makes anew."""
        if self._writes:
            self._path.unlink(missing_ok=True)


@contextlib.contextmanager
def own(path, inside=False, waits_for=lambda holder: False):
    """Owns what a path names, or is going to name, until the block ends.

    The folder of the lock is made where it is missing; what is still empty of that at the end is
    taken away again.

    Args:
        path: of a file or folder, there or not.
        inside: whether the lock lies in a folder itself, as `.lock`: it may be a disk of its own,
            beside which nothing can be written. Defaults to False, beside what is owned.
        waits_for: function of a `Holder`: whether to wait for its end. Defaults to never.

    Yields:
        `Owner`.

    Raises:
        InUseError: where another process, or another part of this one, owns it.
        OSError: where there can be no lock.
    """
    path, made = Path(path), []
    try:
        lock = _acquire(path, _lock_of(path, inside), waits_for, made)
        owner = Owner(lock)
        try:
            owner.tell()
            yield owner
        finally:
            with contextlib.suppress(OSError):  # the disk may be gone
                owner.remove()
            lock.release()
    finally:
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()


def _acquire(path, place, waits_for, made):
    """The lock, held. Folders that had to be made are added to `made`."""
    lock = filelock.FileLock(place, timeout=0, thread_local=False)
    told, nameless = None, 0
    while True:
        made += _make(place.parent)
        try:
            lock.acquire()
            return lock
        except FileNotFoundError:  # who was refused has taken the folder away meanwhile
            continue
        except filelock.Timeout:
            holder = _holder(place)
        except OSError as error:
            if error.errno not in _NO_LOCKS or isinstance(lock, filelock.SoftFileLock):
                raise
            if not place.stat().st_size:  # made by the attempt just now
                place.unlink()
            lock = filelock.SoftFileLock(place, timeout=0, thread_local=False)
            continue
        if holder is None and nameless < _NAMELESS:
            nameless += 1
        elif holder is None or not waits_for(holder):
            raise InUseError(_refusal(path, holder))
        elif holder != told:
            told = holder
            print(f"Waiting for {holder}, which works on {path} ...", file=sys.stderr)
        time.sleep(_LOOK_AGAIN)


def check_free(path):
    """Raises InUseError where somebody owns what a path names; else does nothing."""
    if _lock_of(Path(path)).exists():
        with own(path):
            pass


def _lock_of(path, inside=False):
    return path / LOCK if inside else path.with_name(f".{path.name}{LOCK}")


def _make(folder):
    """Makes a folder and those above it; the list of what was missing, from the top."""
    missing = []
    while not folder.exists():
        missing.insert(0, folder)
        folder = folder.parent
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    for each in missing:
        each.mkdir(exist_ok=True)
    return missing


def _holder(path):
    """Who wrote its name into a lock; None while nobody has."""
    try:
        number, host, *state = path.read_text().splitlines()
    except (OSError, ValueError):
        return None
    return Holder(number, host, "leaving" in state)


def _refusal(path, holder):
    return (
        f"{path} is in use: {holder or 'another process'} works on it. Wait for its end, or stop "
        f"it first."
    )
