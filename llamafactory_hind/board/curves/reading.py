"""Numbers of a run that may still train, read from where the last look ended."""

import json
import math
import os
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


STEP = "current_steps"
TOKENS, ELAPSED = "total_tokens", "elapsed_time"
NOT_CURVES = {STEP, TOKENS, "total_steps", "percentage", "epoch"}  # places in a run, not what comes of it
ONCE = (
    "train_",
    "total_flos",
    "eval_runtime",
    "eval_samples_",
    "eval_steps_",
    "eval_model_",
)  # sums at the end of a pass
HEAD = 256  # bytes at the beginning of a file that tell it from another of the same name


@dataclass
class Series:
    """One metric: at `steps[i]` (of any kind of x) it was `values[i]`; steps rise."""

    steps: array = field(default_factory=lambda: array("d"))
    values: array = field(default_factory=lambda: array("d"))

    def add(self, step: float, value: float) -> None:
        """Add a point at the end."""
        self.steps.append(step)
        self.values.append(value)

    def cut(self, step: float) -> None:
        """Forget points from a step on: a resumed run takes it again."""
        while self.steps and self.steps[-1] >= step:
            self.steps.pop()
            self.values.pop()


class RunLog:
    """The log of one run.

    Attributes:
        series: metric -> its points by step.
        tokens: tokens seen by step, where the log has them; likewise `seconds` since the start.
        total: steps that the run will take; None before the first line.
        resumed: steps from which the run was taken up again.
        unreadable: lines that are no JSON object.
        changed: when the file was last written, seconds since the epoch.
    """

    def __init__(self, path: Path) -> None:
        """Read nothing yet."""
        self.path = path
        self._forget()

    def _forget(self) -> None:
        self.series: dict[str, Series] = {}
        self.tokens, self.seconds = Series(), Series()
        self.total: int | None = None
        self.resumed: list[int] = []
        self.unreadable = 0
        self.changed = 0.0
        self._offset, self._last, self._head = 0, -1, b""

    @property
    def last_step(self) -> float | None:
        """The step of the last line; None before the first."""
        return None if self._last < 0 else self._last

    @property
    def version(self) -> tuple[int, bytes]:
        """Equal where nothing was read in between."""
        return self._offset, self._head

    def last(self, name: str) -> float | None:
        """Return the last value of a metric; None where it has none."""
        series = self.series.get(name)
        return series.values[-1] if series is not None and series.values else None

    def seconds_a_step(self, steps: int = 20) -> float | None:
        """Return the pace over the last lines, in seconds a step; None where two lines do not tell it."""
        times, places = list(self.seconds.values[-steps:]), list(self.seconds.steps[-steps:])
        if len(places) < 2 or places[-1] <= places[0]:
            return None
        return (times[-1] - times[0]) / (places[-1] - places[0])

    def update(self) -> int:
        """Read the lines that are new; a line that is still being written waits for the next call.

        Returns:
            how many lines were read. A file that was cut or replaced is read from its beginning, a missing one is empty.
        """
        try:
            with open(self.path, "rb") as file:
                head = file.read(HEAD)
                found = os.fstat(file.fileno())
                if found.st_size < self._offset or not head.startswith(self._head[: len(head)]):
                    self._forget()
                self._head, self.changed = head, found.st_mtime
                file.seek(self._offset)
                content = file.read()
        except FileNotFoundError:
            self._forget()
            return 0
        whole, newline, _ = content.rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        lines = whole.split(b"\n") if newline else []
        for line in lines:
            self._take(line)
        return len(lines)

    def _take(self, line: bytes) -> None:
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict):
            self.unreadable += bool(line.strip())
            return
        step = entry.get(STEP)
        if not is_number(step):
            return
        if step < self._last:
            self._resume(step)
        self._last = step
        total = entry.get("total_steps")
        self.total = int(total) if is_number(total) else self.total
        for name, value in entry.items():
            if name not in NOT_CURVES and not name.startswith(ONCE) and is_number(value):
                self.series.setdefault(name, Series()).add(step, value)
        if is_number(entry.get(TOKENS)):
            self.tokens.add(step, entry[TOKENS])
        seconds = read_clock(entry.get(ELAPSED))
        if seconds is not None:
            self.seconds.add(step, seconds)

    def _resume(self, step: float) -> None:
        self.resumed.append(int(step))
        for series in (*self.series.values(), self.tokens, self.seconds):
            series.cut(step)


def is_number(value: Any) -> bool:
    """Say whether a value can be drawn: 0 can, NaN, infinity and true cannot."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def read_clock(text: Any) -> float | None:
    """Return the seconds of the host's clock: `0:01:30`, `1 day, 2:00:00`; None for anything else."""
    if not isinstance(text, str):
        return None
    days, comma, clock = text.rpartition(", ")
    try:
        hours, minutes, seconds = map(float, clock.split(":"))
        return (float(days.split()[0]) if comma else 0.0) * 86400 + hours * 3600 + minutes * 60 + seconds
    except (ValueError, IndexError):
        return None
