"""A file of lines that grows only at its end; a line counts once it is on the disk."""

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path

from .atomic import WriteRefused, refusal_of, told


class JournalBroken(WriteRefused):
    """The disk refused a line; nothing that is computed now would be kept."""


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """Add lines to a file, all of them or none, and wait until they are on the disk.

    Args:
        path: made if it is not there.
        lines: without their newlines.

    Raises:
        JournalBroken: the disk is full or failed; the file is as it was before.
    """
    log = AppendLog(path)
    try:
        log.append([(line + "\n").encode("utf-8", "backslashreplace") for line in lines])
    finally:
        log.close()


def append_new_line(path: Path, line: str) -> bool:
    """Add a line to a file unless it holds the same one; return whether it was new.

    Args:
        path: made if it is not there.
        line: without its newline.

    Raises:
        JournalBroken: the disk is full or failed; the file is as it was before.
    """
    log = AppendLog(path)
    try:
        whole = (line + "\n").encode("utf-8", "backslashreplace")
        is_new = whole not in log.lines()
        if is_new:
            log.append([whole])
    finally:
        log.close()
    return is_new


def _open(path: Path) -> "FileIO":
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileIO(path, "a+")
    except OSError as error:
        raise told(error, path) from error


class AppendLog:
    """A file of lines that grows only at its end, and whose lines are on the disk when they are said to be.

    Args:
        path: made if it is not there.
        writable: False opens it to be read only; a file that is not there is then as an empty one.
    """

    def __init__(self, path: Path, *, writable: bool = True) -> None:
        """Open the file; what it holds stays."""
        self.path = path
        if writable:
            self._file = _open(path)
        else:
            self._file = open(path if path.exists() else os.devnull, "rb", buffering=0)  # noqa: SIM115
        self.end = self._file.seek(0, os.SEEK_END)
        self._waiting: list[tuple[bytes, Callable[[int], None], asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._thread: ThreadPoolExecutor | None = None

    def append(self, lines: Sequence[bytes]) -> list[int]:
        """Write lines with one sync, and return where each begins.

        Raises:
            JournalBroken: the disk is full or failed; the file is as it was before.
            ValueError: the file was opened to be read only.
        """
        if not self._file.writable():
            raise ValueError(f"{self.path}: opened for reading only, so no line can be added.")
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
            reason = refusal_of(error) or str(error)
            raise JournalBroken(
                f"{self.path}: {reason} ({error}). Free some disk space; finished work is kept."
            ) from error
        self.end = place
        return places

    async def commit(self, line: bytes, note: Callable[[int], None] = lambda place: None) -> None:
        """Write a line, in a thread and with one sync for all that wait meanwhile.

        Args:
            line: with its newline.
            note: gets the place where the line begins once it is on the disk, also when nobody waits for it any more.
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
        with open(self._file.fileno(), "rb", closefd=False) as file:
            file.seek(0)
            yield from file

    def cut(self, end: int) -> None:
        """Drop what is after a place."""
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
