"""Logs of the runs that somebody looks at, read once for all who look, each time from where the last look ended."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from ..speech import tr
from .page import STYLE, curves_page, status_line
from .reading import RunLog
from .runs import RunList


KEPT = 16  # [ours] logs in memory
NOTHING = (
    "Nothing here yet. Start a run in Train, or start the Board where your runs are: it looks into that folder, or into those "
    "of LLAMAFACTORY_HIND_ROOTS."
)
CHOOSE = "Choose a run."
View = tuple[object, ...]  # what a drawing depends on; equal views are drawn once


class LiveCurves:
    """What the tab shows.

    Args:
        roots: folders that runs are under, resolved.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        """Read nothing yet."""
        self.runs = RunList(roots)
        self._logs: OrderedDict[Path, RunLog] = OrderedDict()
        self._lock = threading.Lock()

    def draw(
        self, runs: Sequence[str], *, smoothing: float, axis: str, tables: bool, before: View = ()
    ) -> tuple[str, str, View] | None:
        """Return status line, page and what they depend on; None where that is as `before`.

        Args:
            runs: names; those that are not in the list are left out.
            smoothing: see `shaping.smooth`.
            axis: one of `drawing.AXES`.
            tables: show numbers beside the panels.
            before: what the last drawing depended on.
        """
        with self._lock:
            logs = self._read(self.runs.open(runs))
            status = status_line(logs)
            view = (
                status,
                tr(CHOOSE),
                tuple((name, log.version) for name, log in logs.items()),
                smoothing,
                axis,
                tables,
            )
            if view == before:
                return None
            if not logs:
                return "", f"{STYLE}<p>{escape(tr(CHOOSE if self.runs.names() else NOTHING))}</p>", view
            page = curves_page(logs, smoothing=smoothing, axis=axis, tables=tables)
            return status, page, view

    def _read(self, files: Mapping[str, Path]) -> dict[str, RunLog]:
        logs = {}
        for name, path in files.items():
            logs[name] = self._logs.setdefault(path, RunLog(path))
            self._logs.move_to_end(path)
            logs[name].update()
        while len(self._logs) > max(KEPT, len(logs)):
            self._logs.popitem(last=False)
        return logs
