"""SIGKILL at a chosen file operation of this process, before it or in its middle; a list of all of them comes first.

An operation has a name, such as `replace .saving/checkpoint-4` or `torch.save .saving/checkpoint-4/optimizer.pt`, and a
number where it comes more than once: threads that write logs beside it do not shift it.
"""

import builtins
import fcntl
import io
import json
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any


VARIABLE = "HIND_TEST_KILL"
ARMED = "from shared.killing import arm_from_environment; arm_from_environment()\n"
NAMES = ("replace", "rename", "fsync", "mkdir", "unlink", "remove", "rmdir")


def environment(root: Path, *, at: str = "", moment: str = "before", record: Path | None = None) -> dict[str, str]:
    """What a process needs to be killed at the operation `at`, or to list all below `root` in the file `record`."""
    told = {"root": str(root), "at": at, "moment": moment, "record": None if record is None else str(record)}
    return {VARIABLE: json.dumps(told)}


def arm_from_environment() -> None:
    """Arm this process if its environment says so."""
    if VARIABLE in os.environ:
        Killer(**json.loads(os.environ[VARIABLE])).arm()


class Killer:
    """Counts the operations below a folder and kills at one of them."""

    def __init__(self, root: str, at: str = "", moment: str = "before", record: str | None = None) -> None:
        self.root, self.at, self.moment, self.record = os.path.realpath(root), at, moment, record
        self.seen: Counter[str] = Counter()
        self.local = threading.local()  # a thread that writes logs has operations of its own
        self.open = io.open

    def name(self, kind: str, place: Any) -> str | None:
        """Return the name of an operation, None for one elsewhere."""
        if isinstance(place, int):
            place = os.readlink(f"/proc/self/fd/{place}")
        path = os.path.realpath(os.fspath(place))
        if not path.startswith(self.root + os.sep) or path.endswith(("trainer_log.jsonl", ".hind.lock")):
            return None
        name = f"{kind} {re.sub(rf'[.]{os.getpid()}[.]', '.PID.', path[len(self.root) + 1 :])}"
        self.seen[name] += 1
        return name if self.seen[name] == 1 else f"{name} #{self.seen[name]}"

    def met(self, name: str | None, half: Callable[[], object], whole: Callable[[], Any]) -> Any:
        """Do an operation; die before it or after half of it if it is the one."""
        if name is None or getattr(self.local, "inside", False):
            return whole()
        if self.record is not None:
            with self.open(self.record, "a") as file:
                file.write(name + "\n")
        self.local.inside = True
        try:
            if name == self.at:
                if self.moment == "middle":
                    with suppress(OSError):
                        half()
                os.kill(os.getpid(), signal.SIGKILL)
            return whole()
        finally:
            self.local.inside = False

    def arm(self) -> None:
        """Take the places of the functions that write."""
        for name in NAMES:
            self._wrap_os(name)
        real = self.open

        def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if isinstance(file, int) or not set(mode) & set("wax+"):
                return real(file, mode, *args, **kwargs)
            name = self.name("open", file)
            whole = lambda: real(file, mode, *args, **kwargs)
            return self.met(name, whole, whole)  # in its middle: made or cut, and empty

        builtins.open = io.open = opened
        self._wrap_torch()

    def _wrap_os(self, name: str) -> None:
        real = getattr(os, name)

        def wrapped(place: Any, *args: Any, **kwargs: Any) -> Any:
            whole = lambda: real(place, *args, **kwargs)
            if kwargs.get("dir_fd") is not None:
                place_name = os.path.join(os.readlink(f"/proc/self/fd/{kwargs['dir_fd']}"), place)
                return self.met(self.name(name, place_name), whole, whole)
            half = (lambda: tear_last_line(place)) if name == "fsync" else whole
            return self.met(self.name(name, place), half, whole)

        setattr(os, name, wrapped)

    def _wrap_torch(self) -> None:
        import sys

        if "torch" not in sys.modules:
            return
        import pyarrow.parquet
        import safetensors.torch
        import torch

        def by_path(real: Callable[..., Any], kind: str, place: int) -> Callable[..., Any]:
            def wrapped(*args: Any, **kwargs: Any) -> Any:
                whole = lambda: real(*args, **kwargs)
                if not isinstance(args[place], str | os.PathLike):
                    return whole()
                path = os.fspath(args[place])

                def half() -> None:
                    whole()
                    os.truncate(path, os.path.getsize(path) // 2)

                return self.met(self.name(kind, path), half, whole)

            return wrapped

        torch.save = by_path(torch.save, "torch.save", 1)
        safetensors.torch.serialize_file = by_path(safetensors.torch.serialize_file, "safetensors", 1)
        pyarrow.parquet.write_table = by_path(pyarrow.parquet.write_table, "parquet", 1)


def tear_last_line(descriptor: int) -> None:
    """Leave half of the last line of a file that grows at its end, as a kill in the middle of a write does."""
    if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND:
        size = os.fstat(descriptor).st_size
        with open(f"/proc/self/fd/{descriptor}", "rb") as file:
            start = file.read()[:-1].rfind(b"\n") + 1
        os.ftruncate(descriptor, (start + size) // 2)


def in_a_fork(work: Callable[[], object], killer: Killer | None = None) -> int:
    """Do some work in a fork of this process and return how it ended: 0, or the signal's number below 0."""
    child = os.fork()
    if child == 0:
        try:
            if killer is not None:
                killer.arm()
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
