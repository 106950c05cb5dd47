"""What a job's folder says: who started what, how far it is, how it ended, and the end of its log."""

import json
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from .keeper import ENDED, JOB, LOG


KEEPER = "keeper.json"
STARTING = 10.0  # [ours] seconds between a job's first file and the note of its process
READ = 256 * 1024  # bytes of a log's end
LINES = 400  # [ours] of a log that are shown
BAR = re.compile(r"(?P<name>[^\r\n|]*?): +\d+%\|[^|\r\n]*\| *(?P<done>\d+)/(?P<total>\d+) \[(?P<rest>[^\]\r\n]*)\]")


@dataclass(frozen=True)
class Progress:
    """The last progress bar of a log: what is counted, how many of how many, and what the bar says beside it."""

    name: str
    done: int
    total: int
    rest: str


@dataclass(frozen=True)
class JobState:
    """A job.

    Attributes:
        name: of its folder.
        title: what it does.
        by: which session of a browser started it.
        phase: `running`, `finished`, `failed`, `stopped`, or `lost`: it ended and nobody saw how.
        code: exit status; None while it runs, and where it is lost.
        log: its last lines.
        progress: None before the first bar.
        settings: that it was started with.
    """

    name: str
    title: str
    by: str
    phase: str
    code: int | None
    log: str
    progress: Progress | None
    settings: dict[str, Any]


def read_state(folder: Path) -> JobState | None:
    """Return the state of a job; None where the folder holds none."""
    alive = _runs(folder)  # before the end is read: it may end in between
    job, ended = read_json(folder / JOB), read_json(folder / ENDED)
    if job is None:
        return None
    text = tail(folder / LOG)
    code = None if ended is None else ended.get("code")
    phase = "running" if ended is None else "stopped" if ended.get("stopped") else "failed" if code else "finished"
    if ended is None and not alive:
        phase = "lost"
    return JobState(
        name=folder.name,
        title=str(job.get("title", "")),
        by=str(job.get("by", "")),
        phase=phase,
        code=code,
        log=shown_log(text),
        progress=last_bar(text),
        settings=job.get("settings") or {},
    )


def _runs(folder: Path) -> bool:
    keeper = read_json(folder / KEEPER)
    if keeper is not None:
        return is_alive(keeper)
    with suppress(OSError):
        return time.time() - (folder / JOB).stat().st_mtime < STARTING
    return False


def read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def is_alive(keeper: dict[str, Any] | None) -> bool:
    """Say whether the process that was noted runs: another one that got its number later is not it."""
    if keeper is None:
        return False
    try:
        process = psutil.Process(keeper["pid"])
        return process.create_time() == keeper["created"] and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False


def tail(path: Path) -> str:
    """Return the end of a log as it is on the disk."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - READ))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def shown_log(text: str) -> str:
    """Return lines as a terminal would leave them: of a bar that was written over, the last state."""
    lines = [next((part for part in reversed(line.split("\r")) if part.strip()), "") for line in text.split("\n")]
    return "\n".join(lines[-LINES:]).strip("\n")


def last_bar(text: str) -> Progress | None:
    """Return the last progress bar in a log."""
    found = None
    for match in BAR.finditer(text):
        found = match
    if found is None:
        return None
    return Progress(found["name"].strip(), int(found["done"]), int(found["total"]), found["rest"])
