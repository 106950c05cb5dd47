"""An append-only log of results by key: one JSON line each, durable before a result counts.

Killed at any moment and started again, a run finds every result here; only a line that the kill
cut is computed again. The lines are `{"key": ..., "id": row, "result": ...}`, without `id` where a
result belongs to no row. A first line `{"header": {...}}` says what all results depend on.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .append_log import AppendLog, JournalBroken
from .atomic import put_aside
from .locks import Held, take


__all__ = ["Journal", "JournalBroken", "JournalInUse", "JournalIndex", "work_key"]

# `json.dumps` makes an encoder a call for anything but its defaults
_encode = json.JSONEncoder(ensure_ascii=False).encode


class JournalInUse(RuntimeError):
    """Another process writes this journal."""


def work_key(content: Mapping[str, Any]) -> str:
    """Return the name of a result: a digest of all it depends on (row, prompts, model, parameters)."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


class JournalIndex(Mapping[str, Any]):
    """Results by key, read from the file when asked for: a long run must not hold them all."""

    def __init__(self, log: AppendLog) -> None:
        """Start with none."""
        self._log = log
        self._places: dict[str, tuple[int, int]] = {}

    def put(self, key: str, place: int, length: int) -> None:
        """Say where the line of a result is."""
        self._places[key] = (place, length)

    def __getitem__(self, key: str) -> Any:
        """Return the result of a key."""
        return json.loads(self._log.read(*self._places[key]))["result"]

    def __contains__(self, key: object) -> bool:
        """Say whether there is a result, without reading it."""
        return key in self._places

    def __iter__(self) -> Iterator[str]:
        """Yield the keys of all results."""
        return iter(self._places)

    def __len__(self) -> int:
        """Return how many results there are."""
        return len(self._places)


class Journal:
    """A journal file, written by one process at a time.

    Args:
        path: its folder is made if it is not there.
        header: what all results depend on. A file with another header is moved to
            `<name>.old` and the journal starts empty; None takes any.
        writable: False reads what is there, without the lock: no other process is kept from
            writing, a line it writes at this moment is left out, and nothing is moved.

    Attributes:
        results: key -> result.
        row_ids: of all rows that have a result here, whatever its parameters.
        cut_lines: unreadable lines met while opening (0 or 1 after a kill).
        changed: names of the header's fields that differ from those of the file; empty where they
            are equal, and where there was nothing to compare.
    """

    def __init__(self, path: Path, *, header: Mapping[str, Any] | None = None, writable: bool = True) -> None:
        """Lock the file, compare its header, drop a last line that was cut, and index the others.

        Raises:
            JournalInUse: another run holds it; the message names its process.
            JournalBroken: the disk refuses the header.
            WriteRefused: the disk refuses the file, or that of its lock.
        """
        self.path = path
        self.cut_lines = 0
        self.row_ids: set[str] = set()
        self._lock = _lock(path) if writable else None
        self.changed = [] if header is None else _differing(path, header)
        if self.changed and writable:
            put_aside(path, ".old")  # paid work as well
        self._log = AppendLog(path, writable=writable)
        self.results = JournalIndex(self._log)
        if writable or not self.changed:
            self._read(drop_cut=writable)
        if header is not None and writable and not self._log.end:
            self._log.append([_bytes({"header": dict(header)})])

    def _read(self, *, drop_cut: bool) -> None:
        whole = 0
        for line in self._log.lines():
            if not line.endswith(b"\n"):
                self.cut_lines += 1
                break
            if whole or _header(line) is None:
                self._index(line, whole)
            whole += len(line)
        if drop_cut and self._log.end > whole:
            self._log.cut(whole)

    def _index(self, line: bytes, place: int) -> None:
        try:
            entry = json.loads(line)
            entry["result"]
            self.results.put(entry["key"], place, len(line))
            if entry.get("id") is not None:
                self.row_ids.add(entry["id"])
        except (ValueError, KeyError, TypeError, AttributeError):
            self.cut_lines += 1

    def add(self, results: Iterable[tuple[str, str | None, Any]]) -> None:
        """Append (key, row id or None, result) entries; they are on the disk when this returns.

        Raises:
            JournalBroken: the disk is full or failed; what was in the file still is.
        """
        lines = {key: _line(key, row_id, result) for key, row_id, result in results}
        for (key, line), place in zip(lines.items(), self._log.append(list(lines.values())), strict=True):
            self.results.put(key, place, len(line))

    async def commit(self, key: str, row_id: str | None, result: Any) -> None:
        """Append an entry, with one sync for all that finish at the same time; it is on the disk when this returns."""
        line = _line(key, row_id, result)
        await self._log.commit(line, lambda place: self.results.put(key, place, len(line)))

    def close(self) -> None:
        """Release the files."""
        self._log.close()
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> Self:
        """Return the journal itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the files."""
        self.close()


def _lock(path: Path) -> FileIO:
    try:
        return take(path.with_suffix(".lock"))
    except Held as holder:
        raise JournalInUse(
            f"{path}: the process {holder} writes it. Wait until it has ended, or write elsewhere."
        ) from None


def _differing(path: Path, header: Mapping[str, Any]) -> list[str]:
    """Return the names of the fields that differ; none for a file that is missing, empty, or cut in its header."""
    try:
        with open(path, "rb") as file:
            first = file.readline()
    except FileNotFoundError:
        return []
    if not first.endswith(b"\n"):
        return []
    before, after = _header(first) or {}, json.loads(_encode(dict(header)))
    return sorted(
        key for key in {*before, *after} if key not in before or key not in after or before[key] != after[key]
    )


def _header(line: bytes) -> dict[str, Any] | None:
    """Return the header that a line holds, None if it is none."""
    try:
        header = json.loads(line)["header"]
    except (ValueError, KeyError, TypeError):
        return None
    return header if isinstance(header, dict) else None


def _line(key: str, row_id: str | None, result: Any) -> bytes:
    return _bytes({"key": key, **({} if row_id is None else {"id": row_id}), "result": result})


def _bytes(entry: Mapping[str, Any]) -> bytes:
    # half a surrogate pair, as a server may send it, is written as JSON would escape it
    return (_encode(entry) + "\n").encode("utf-8", "backslashreplace")
