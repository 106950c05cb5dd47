"""The small columns of all completions of a run in memory: read newest first, a slice of time at a time, and only what is new."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ...storage.completion_files import TYPES, CompletionFile, current_files, type_of


SLICE = 0.3  # seconds of reading between two looks at the page
NUMBERS = ("step", "process", "group", "sample", "tokens", "reward", "advantage")
TEXTS = ("row_id", "split", "source", "finish_reason")
GATE = "stream/gate"
UNKNOWN = -1  # a whole number that a file does not say


@dataclass
class _Read:
    """What is kept of one file: its identity, and a table of its small columns."""

    file: CompletionFile
    identity: tuple[int, int]
    table: pa.Table


@dataclass
class Index:
    """All completions of a folder that have been read so far.

    Attributes:
        folder: with the files of `storage.completion_files`.
        unreadable: name of a file -> why it was left out.
        total: files that there are; None before the first look.
    """

    folder: Path
    unreadable: dict[str, str] = field(default_factory=dict)
    total: int | None = None
    _read: dict[Path, _Read] = field(default_factory=dict)
    _bad: dict[Path, tuple[int, int]] = field(default_factory=dict)
    _rows: "Rows | None" = None

    def update(self, seconds: float = SLICE) -> bool:
        """Read files that are new or were written again, newest first, for so long; return whether anything changed.

        At least one file is read where one is left, so that every call comes nearer to the end.
        """
        files = {file.path: file for file in current_files(self.folder)}
        self.total = len(files)
        gone = [path for path in (*self._read, *self._bad) if path not in files]
        for path in gone:
            self._read.pop(path, None)
            self._bad.pop(path, None)
            self.unreadable.pop(path.name, None)
        changed = bool(gone)
        until = time.perf_counter() + seconds
        for file in sorted(files.values(), key=lambda file: (-file.last, file.path.name)):
            identity = _identity(file.path)
            known = self._read.get(file.path)
            if identity is None or self._bad.get(file.path) == identity or (known and known.identity == identity):
                continue
            self._take(file, identity)
            changed = True
            if time.perf_counter() > until:
                break
        if changed:
            self._rows = None
        return changed

    @property
    def read(self) -> int:
        """Files that were read, or left out as unreadable."""
        return len(self._read) + len(self._bad)

    @property
    def complete(self) -> bool:
        """Whether every file was read."""
        return self.total is not None and self.read >= self.total

    @property
    def rows(self) -> "Rows":
        """The completions that have been read, newest first."""
        if self._rows is None:
            self._rows = Rows.of([entry.table for entry in self._read.values()], [*self._files()])
        return self._rows

    def _files(self) -> list[CompletionFile]:
        return [entry.file for entry in self._read.values()]

    def _take(self, file: CompletionFile, identity: tuple[int, int]) -> None:
        self._read.pop(file.path, None)
        self._bad.pop(file.path, None)
        self.unreadable.pop(file.path.name, None)
        try:
            table = small_columns(file)
        except Exception as error:  # a file that was cut, or is none: pyarrow raises what it likes
            self._bad[file.path] = identity
            self.unreadable[file.path.name] = str(error).splitlines()[0][:200]
            return
        self._read[file.path] = _Read(file, identity, table)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None  # it was joined at this moment
    return status.st_size, status.st_mtime_ns


def small_columns(file: CompletionFile) -> pa.Table:
    """Return the columns of a file that are filtered and sorted by, in one form for all versions of our files."""
    source = pq.ParquetFile(file.path)
    there = source.schema_arrow.names
    wanted = [name for name in (*NUMBERS, *TEXTS, "kept") if name in there]
    wanted += [name for name in there if name.startswith("reward/") or name == GATE]
    table = source.read(columns=[*wanted, *(name for name in ("extra", "hints") if name in there)])
    columns = {name: table[name].cast(type_of(name)) for name in wanted}
    columns |= _made_up(file, columns, len(table))
    columns["hinted"] = _has_hint(table, "extra")
    columns["explored"] = pc.is_valid(table["hints"]) if "hints" in there else columns["hinted"]
    columns["place"] = pa.array(range(len(table)), pa.int64())
    return pa.table(columns)


def _has_hint(table: pa.Table, name: str) -> Any:
    if name not in table.column_names:
        return pa.array([False] * len(table))
    found = pc.match_substring_regex(table[name].cast(pa.string()), r'"hint": "')
    return pc.fill_null(found, False)


def _made_up(file: CompletionFile, columns: dict[str, Any], count: int) -> dict[str, Any]:
    """Return what files of an earlier version do not say: of them, a row is in a step once."""
    made: dict[str, Any] = {}
    if "process" not in columns:
        name = file.path.stem.rpartition("-")[2]
        made["process"] = pa.array([int(name) if name.isdigit() else 0] * count, pa.int64())
    if "group" not in columns:
        rows = pc.fill_null(columns["row_id"].combine_chunks(), "") if "row_id" in columns else pa.array([""] * count)
        made["group"] = pc.cast(rows.dictionary_encode().indices, pa.int64())
    if "split" not in columns:
        made["split"] = pa.array(["eval" if file.kind == "eval" else "train"] * count, pa.string())
    for name in (*NUMBERS, *TEXTS, "kept"):
        if name not in columns and name not in made:
            made[name] = pa.nulls(count, TYPES.get(name, pa.float64()))
    return made


@dataclass(frozen=True)
class Rows:
    """Completions in memory, newest first; entry i of every column is of completion i.

    Attributes:
        table: of the small columns.
        files: that `file` counts.
        file: of each completion; `place` is its row there.
        card: number of its group; the completions of a group follow each other.
    """

    table: pa.Table
    files: Sequence[CompletionFile]
    file: np.ndarray
    place: np.ndarray
    card: np.ndarray

    @classmethod
    def of(cls, tables: Sequence[pa.Table], files: Sequence[CompletionFile]) -> "Rows":
        """Put files together; steps that were written again hide those of joined files."""
        tables = [_visible(table, file, files) for table, file in zip(tables, files, strict=True)]
        sizes = [len(table) for table in tables]
        if not sum(sizes):
            nothing = np.zeros(0, np.int64)
            return cls(
                pa.table({name: pa.array([], type_of(name)) for name in (*NUMBERS, *TEXTS)}), files, *[nothing] * 3
            )
        table = pa.concat_tables(tables, promote_options="permissive").combine_chunks()
        numbers = np.repeat(np.arange(len(tables)), sizes)
        keys = {name: _whole(table[name]) for name in ("step", "process", "group", "sample")}
        split = table["split"].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
        kept = pc.fill_null(table["kept"], False).to_numpy(zero_copy_only=False)
        order = np.lexsort((keys["sample"], ~kept, keys["group"], keys["process"], split, -keys["step"]))
        parts = [keys["step"], split, keys["process"], keys["group"]]
        changes = np.zeros(len(order), bool)
        for part in parts:
            sorted_part = part[order]
            changes[1:] |= sorted_part[1:] != sorted_part[:-1]
        place = table["place"].to_numpy()
        return cls(table.take(pa.array(order)), files, numbers[order], place[order], np.cumsum(changes))

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.card)

    def numbers(self, name: str) -> np.ndarray:
        """Return a column as float64, NaN where a completion has no such number."""
        if name not in self._columns:
            self._columns[name] = self._number(name)
        return self._columns[name]

    def texts(self, name: str) -> Any:
        """Return a column of texts or flags as it is in the table."""
        return self.table[name]

    @property
    def rewards(self) -> list[str]:
        """Names of the rewards."""
        return [name.removeprefix("reward/") for name in self.table.column_names if name.startswith("reward/")]

    @cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        return {}

    def _number(self, name: str) -> np.ndarray:
        if name not in self.table.column_names:
            return np.full(len(self), np.nan)
        column = self.table[name].cast(pa.float64())
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)

    def values(self, name: str) -> list[str]:
        """Return the different texts of a column, sorted."""
        return sorted(value for value in pc.unique(self.table[name]).to_pylist() if value is not None)


def _whole(column: Any) -> np.ndarray:
    return np.asarray(pc.fill_null(column, UNKNOWN).to_numpy(), dtype=np.int64)


def _visible(table: pa.Table, file: CompletionFile, files: Sequence[CompletionFile]) -> pa.Table:
    """Return the completions of a joined file whose steps no file of its own says anew."""
    if file.kind != "part":
        return table
    again = {other.first for other in files if other.kind == "step" and file.first <= other.first <= file.last}
    if not again:
        return table
    steps = pc.is_in(table["step"], value_set=pa.array(sorted(again), pa.int64()))
    return table.filter(pc.invert(steps))
