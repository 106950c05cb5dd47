"""An append-only record of finished units, one JSON line each, durable before the next group of units starts.

Killed at any moment and started again, a run finds every finished unit here; only a line cut by the kill is computed again.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class JournalInUse(RuntimeError):
    """Another process writes this journal."""


def unit_key(content: Mapping[str, Any]) -> str:
    """Return the name of a unit: a digest of everything its result depends on (row, prompts, model, parameters)."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Journal:
    """A journal file, held by one process at a time.

    Attributes:
        results: key -> result of every unit that is finished.
        cut_lines: unreadable lines met while opening (0 or 1 after a kill).
    """

    def __init__(self, path: Path) -> None:
        """Lock the file, drop a last line that was cut, and read the others.

        Raises:
            JournalInUse: another run holds it; the message names its process.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.results: dict[str, Any] = {}
        self.cut_lines = 0
        self._lock = open(path.with_suffix(".lock"), "a+", encoding="utf-8")  # noqa: SIM115 (held until close)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.seek(0)
            holder = self._lock.read().strip() or "unknown"
            self._lock.close()
            raise JournalInUse(
                f"{path}: the process {holder} writes it. Wait until it has ended, or set another `output`."
            ) from None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()
        self._file = open(path, "ab+")  # noqa: SIM115 (held until close)
        self._read()

    def _read(self) -> None:
        self._file.seek(0)
        whole = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            try:
                entry = json.loads(line)
                self.results[entry["key"]] = entry["result"]
            except (ValueError, KeyError, TypeError):
                self.cut_lines += 1
        self._file.seek(0, os.SEEK_END)
        if self._file.tell() > whole:
            self.cut_lines += 1
            self._file.truncate(whole)

    def add(self, units: Iterable[tuple[str, str, Any]]) -> None:
        """Append (key, row id, result) units; they are on the disk when this returns."""
        lines = []
        for key, row_id, result in units:
            lines.append(json.dumps({"key": key, "id": row_id, "result": result}, ensure_ascii=False) + "\n")
            self.results[key] = result
        self._file.write("".join(lines).encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Release the files."""
        self._file.close()
        self._lock.close()

    def __enter__(self) -> Self:
        """Return the journal itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the files."""
        self.close()
