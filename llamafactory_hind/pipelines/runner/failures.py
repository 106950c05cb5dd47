"""Rows that gave nothing: written down as they fail, and a run that fails too often is stopped before it costs more."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...storage.append_log import AppendLog
from ...storage.atomic import remove
from ...storage.files import read_lines, write_rows
from .rows import Failure


FIRST_ROWS = 20  # [ours] rows of a run that must be finished before their rate says anything
SHOWN_REASONS = 3
EARLIER_KEYS = ("unit", "work_item")  # of `work_key` in files of earlier versions


class RunStopped(RuntimeError):
    """The run cannot go on; what is finished is kept."""


def read_failures(path: Path) -> list[Failure]:
    """Return what a file of failures holds, also one of an earlier version; nothing where there is no file."""
    return [_read_failure(line) for line in read_lines(path)]


def _read_failure(line: dict[str, Any]) -> Failure:
    earlier = [line.pop(key) for key in EARLIER_KEYS if key in line]
    return Failure(**({"work_key": earlier[0]} if earlier else {}), **line)


class FailureLog:
    """The file of failures of a run.

    Args:
        path: replaced by the rows that were refused at reading; where there are none, it is made by the first failure.
        refused: those rows; they do not count in the rate.
        max_rate: share of the rows of this run that may fail.

    Attributes:
        failed: rows that failed at work, in the order in which they did.
        finished: rows of this run that are done or failed.
    """

    def __init__(self, path: Path, refused: Sequence[Failure], *, max_rate: float) -> None:
        """Write what was refused."""
        self.path = path
        self.refused = list(refused)
        self.max_rate = max_rate
        self.failed: list[Failure] = []
        self.finished = 0
        self._file: AppendLog | None = None
        self._replace(self.refused)

    def _replace(self, failures: Sequence[Failure]) -> None:
        if failures:
            write_rows(self.path, map(asdict, failures))
        else:
            remove(self.path)

    async def add(self, failure: Failure) -> None:
        """Record a row that failed at work; it is on the disk when this returns.

        Raises:
            RunStopped: too many failed.
        """
        self._file = self._file or AppendLog(self.path)
        self.failed.append(failure)
        self.finished += 1
        text = json.dumps(asdict(failure), ensure_ascii=False) + "\n"
        await self._file.commit(text.encode("utf-8", "backslashreplace"))
        self._check()

    def add_done(self) -> None:
        """Count a row that is done.

        Raises:
            RunStopped: too many others failed.
        """
        self.finished += 1
        self._check()

    def _check(self) -> None:
        if self.finished < FIRST_ROWS or len(self.failed) <= self.max_rate * self.finished:
            return
        raise RunStopped(
            f"{len(self.failed)} of {self.finished} rows failed ({len(self.failed) / self.finished:.0%}, `max_failure_rate` is "
            f"{self.max_rate:g}). The most frequent reasons:\n{self.reasons()}\nCorrect them and start the same command "
            f"again: finished rows are kept, failed rows are tried again. All of them are in {self.path}."
        )

    def reasons(self) -> str:
        """Return the commonest reasons, a line each; numbers in them do not make two of one."""
        kinds = Counter(re.sub(r"\d+(\.\d+)?", "#", failure.reason) for failure in self.failed)
        first = {re.sub(r"\d+(\.\d+)?", "#", failure.reason): failure.reason for failure in reversed(self.failed)}
        return "\n".join(f"  {number} x {first[kind]}" for kind, number in kinds.most_common(SHOWN_REASONS))

    def close(self, order: Sequence[str]) -> list[Failure]:
        """Rewrite the file in the order of the rows, and return all failures.

        Args:
            order: keys of all work items.
        """
        if self._file is not None:
            self._file.close()
        position = {key: number for number, key in enumerate(order)}
        failures = [*self.refused, *sorted(self.failed, key=lambda failure: position[failure.work_key])]
        self._replace(failures)
        return failures
