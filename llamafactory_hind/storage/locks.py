"""Locks between processes: files beside what they keep. A disk that refuses one says so as it does of any other file."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from .atomic import told


HELD = {
    errno.EAGAIN,
    errno.EWOULDBLOCK,
    errno.EACCES,
}  # anything else: a file system without locks, as some of a cluster are
Lock = Callable[[FileIO, int], object]  # `fcntl.flock`, or `fcntl.lockf` for one that a fork does not hold


class Held(Exception):
    """Another process holds a lock; its number, or `unknown`, is the message."""


def open_lock(path: Path) -> FileIO:
    """Open the file of a lock; it and its folder are made if they are not there.

    Raises:
        WriteRefused: the disk is full, read-only or failed, or permission is denied.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileIO(path, "a+")  # nothing waits in a buffer for a disk that has no room
    except OSError as error:
        raise told(error, path) from error


@contextmanager
def wait_for(path: Path) -> Iterator[None]:
    """Hold a lock in a block; where the file system has none, go on: two commands rarely end at the same moment.

    Raises:
        WriteRefused: see `open_lock`.
    """
    with open_lock(path) as lock:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def take(path: Path, *, lock: Lock = fcntl.flock) -> FileIO:
    """Hold a lock until the returned file is closed, and write the number of this process into it.

    Where the file system has no locks, nobody is kept out. A full disk may keep the number from being written; the lock
    holds all the same.

    Raises:
        Held: by another process.
        WriteRefused: see `open_lock`.
    """
    file = open_lock(path)
    try:
        lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD:
            file.seek(0)
            holder = file.read().decode(errors="replace").strip() or "unknown"
            file.close()
            raise Held(holder) from None
    with suppress(OSError):
        file.truncate(0)
        file.write(str(os.getpid()).encode())
    return file
