"""An append-only record of finished units, one JSON line each, durable before a unit counts as done.

Killed at any moment and started again, a run finds every finished unit here; only a line cut by the kill is computed again.

It is our own and not SQLite or a library of logs: many units that finish at a time share one sync (group commit), a cut last line is
dropped and all before it stays, and the file is text that people read and join. [ours]
"""

import asyncio
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self


_encode = json.JSONEncoder(
    ensure_ascii=False
).encode  # `json.dumps` makes an encoder a call for anything but its defaults


class JournalInUse(RuntimeError):
    """Another process writes this journal."""


class JournalBroken(RuntimeError):
    """The disk refused a line; nothing that is computed now would be kept."""


def work_key(content: Mapping[str, Any]) -> str:
    """Return the name of a unit: a digest of everything its result depends on (row, prompts, model, parameters)."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


class AppendLog:
    """A file of lines that grows only at its end, and whose lines are on the disk when they are said to be.

    Args:
        path: made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        """Open the file; what it holds stays."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = open(path, "ab+", buffering=0)  # noqa: SIM115 (held until close)
        self.end = self._file.seek(0, os.SEEK_END)
        self._waiting: list[tuple[bytes, Callable[[int], None], asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._thread: ThreadPoolExecutor | None = None

    def append(self, lines: Sequence[bytes]) -> list[int]:
        """Write lines with one sync, and return where each begins.

        Raises:
            JournalBroken: the disk is full or failed; the file is as it was before.
        """
        places, place = [], self.end
        for line in lines:
            places.append(place)
            place += len(line)
        try:
            content = memoryview(b"".join(lines))
            while content:
                content = content[self._file.write(content) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(self.end)
            raise JournalBroken(f"{self.path}: {error}. Make room; what is finished is kept.") from error
        self.end = place
        return places

    async def commit(self, line: bytes, note: Callable[[int], None] = lambda place: None) -> None:
        """Write a line, in a thread and with one sync for all that wait meanwhile.

        Args:
            line: with its newline.
            note: is told where the line begins once it is on the disk, also when nobody waits for it any more.
        """
        loop = asyncio.get_running_loop()
        written: asyncio.Future[None] = loop.create_future()
        self._waiting.append((line, note, written))
        if self._writer is None or self._writer.done():
            self._writer = loop.create_task(self._write_waiting())
        await written

    async def _write_waiting(self) -> None:
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="journal")
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await loop.run_in_executor(
                    self._thread, self._append_noting, [(line, note) for line, note, _ in batch]
                )
            except JournalBroken as error:
                for _, _, written in batch:
                    if not written.done():
                        written.set_exception(error)
                continue
            for _, _, written in batch:
                if not written.done():  # its unit may have been cancelled meanwhile
                    written.set_result(None)

    def _append_noting(self, lines: Sequence[tuple[bytes, Callable[[int], None]]]) -> None:
        for (_, note), place in zip(lines, self.append([line for line, _ in lines]), strict=True):
            note(place)

    def read(self, place: int, length: int) -> bytes:
        """Return bytes that were written earlier."""
        return os.pread(self._file.fileno(), length, place)

    def lines(self) -> Iterator[bytes]:
        """Yield the lines from the beginning, a last one that was cut included."""
        with open(self.path, "rb") as file:
            yield from file

    def cut(self, end: int) -> None:
        """Drop what stands after a place."""
        self._file.truncate(end)
        self.end = end

    def close(self) -> None:
        """Write what still waits, and release the file."""
        if self._thread is not None:
            self._thread.shutdown(wait=True)
        waiting, self._waiting = self._waiting, []
        try:
            if waiting:
                self._append_noting([(line, note) for line, note, _ in waiting])
        finally:
            self._file.close()


class JournalIndex(Mapping[str, Any]):
    """Results of units by key, read from the file when asked for: a long run must not hold them all."""

    def __init__(self, file: AppendLog) -> None:
        """Start with none."""
        self._file = file
        self._places: dict[str, tuple[int, int]] = {}

    def put(self, key: str, place: int, length: int) -> None:
        """Say where the line of a unit stands."""
        self._places[key] = (place, length)

    def __getitem__(self, key: str) -> Any:
        """Return the result of a unit."""
        return json.loads(self._file.read(*self._places[key]))["result"]

    def __contains__(self, key: object) -> bool:
        """Say whether a unit is finished, without reading it."""
        return key in self._places

    def __iter__(self) -> Iterator[str]:
        """Yield the keys of all finished units."""
        return iter(self._places)

    def __len__(self) -> int:
        """Return how many units are finished."""
        return len(self._places)


class Journal:
    """A journal file, held by one process at a time.

    Attributes:
        results: key -> result of every unit that is finished.
        row_ids: of all rows that have a unit here, whatever its parameters.
        cut_lines: unreadable lines met while opening (0 or 1 after a kill).
    """

    def __init__(self, path: Path) -> None:
        """Lock the file, drop a last line that was cut, and read the others.

        Raises:
            JournalInUse: another run holds it; the message names its process.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.cut_lines = 0
        self.row_ids: set[str] = set()
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
        self._file = AppendLog(path)
        self.results = JournalIndex(self._file)
        self._read()

    def _read(self) -> None:
        whole = 0
        for line in self._file.lines():
            if not line.endswith(b"\n"):
                break
            try:
                entry = json.loads(line)
                entry["result"]
                self.results.put(entry["key"], whole, len(line))
                self.row_ids.add(entry["id"])
            except (ValueError, KeyError, TypeError):
                self.cut_lines += 1
            whole += len(line)
        if self._file.end > whole:
            self.cut_lines += 1
            self._file.cut(whole)

    def add(self, units: Iterable[tuple[str, str, Any]]) -> None:
        """Append (key, row id, result) units; they are on the disk when this returns."""
        lines = {key: _line(key, row_id, result) for key, row_id, result in units}
        for (key, line), place in zip(lines.items(), self._file.append(list(lines.values())), strict=True):
            self.results.put(key, place, len(line))

    async def commit(self, key: str, row_id: str, result: Any) -> None:
        """Append a unit; it is on the disk when this returns, with others that finished at the same time."""
        line = _line(key, row_id, result)
        await self._file.commit(line, lambda place: self.results.put(key, place, len(line)))

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


def _line(key: str, row_id: str, result: Any) -> bytes:
    text = _encode({"key": key, "id": row_id, "result": result})
    # half a surrogate pair, as a server may send it, is written as JSON would escape it
    return (text + "\n").encode("utf-8", "backslashreplace")
