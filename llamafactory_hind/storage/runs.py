"""What a folder says of the run that trains into it: which run it is, what it was to do, and whether it is finished."""

import fcntl
import json
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Any

from .atomic import write_json
from .locks import Held, take


RUN_FILE = "hind_run.json"
LOCK_FILE = ".hind.lock"


class FolderInUse(RuntimeError):
    """Another process trains into the folder."""


def read_run(folder: Path) -> dict[str, Any] | None:
    """Return the record of a folder (`run`, `plan`, `finished`), None where there is none that can be read."""
    try:
        record = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        return record if isinstance(record["run"], dict) and isinstance(record["plan"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_run(folder: Path, run: Mapping[str, Any], plan: Mapping[str, Any], *, finished: int | None) -> None:
    """Write the record.

    Args:
        folder: of the run.
        run: what tells it from others.
        plan: how far it goes.
        finished: the step at which it ended, None before.
    """
    write_json(folder / RUN_FILE, {"format": 1, "run": dict(run), "plan": dict(plan), "finished": finished})


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what differs, as `key: before -> now`; a key that one of them lacks is not compared."""
    return [f"{key}: {before[key]} -> {now[key]}" for key in now if key in before and before[key] != now[key]]


def lock_folder(folder: Path) -> FileIO:
    """Keep other processes out of a folder until the file is closed; nobody where the file system has no locks.

    A lock of this kind ends with its process: what that has forked does not hold it.

    Raises:
        FolderInUse: another process holds it.
        WriteRefused: the disk is full, read-only or failed.
    """
    try:
        return take(folder / LOCK_FILE, lock=fcntl.lockf)
    except Held as holder:
        raise FolderInUse(
            f"output_dir: the process {holder} trains into {folder}. Wait until it has ended, or give another folder."
        ) from None
