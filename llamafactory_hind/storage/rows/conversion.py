"""Rows of any files as one table on disk, with types that hold every value; nothing of it is guessed from the first rows."""

import contextlib
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .batches import Batch, RowBatch
from .collecting import paused_collection
from .columns import MixedColumn, to_array, to_columns, to_json_texts
from .files import Paths, list_files
from .kinds import Node
from .problems import OnBad, Place, ProblemList, RowProblem, RowsError, UnreadableRow, damaged, show
from .reading import read_batches
from .segments import SegmentWriter, make_schema, widen
from .types import JSON_MARK, MOST_FIELDS, holds, unify, whole_number_bounds


@dataclass(frozen=True)
class Converted:
    """What `to_arrow` found and wrote.

    Attributes:
        schema: of the table; columns that hold JSON text are marked.
        json_columns: their names; `decode` reads them.
        files: the files that were read, in order.
        file_indices: for each row of the table the index of its file, (rows,).
        numbers: for each row of the table its number in that file, from 1, (rows,).
    """

    schema: pa.Schema
    json_columns: tuple[str, ...]
    files: tuple[str, ...]
    file_indices: npt.NDArray[np.int32]
    numbers: npt.NDArray[np.int64]

    def place(self, index: int) -> Place:
        """Return where row `index` of the table stands, counted from 0."""
        return Place(self.files[self.file_indices[index]], int(self.numbers[index]))


def to_arrow(
    paths: Paths,
    destination: str | os.PathLike[str],
    *,
    strict: Collection[str] | None = None,
    on_bad: OnBad | None = None,
) -> Converted:
    """Write rows as one Arrow stream file that `datasets.Dataset.from_file` maps into memory.

    The files are read once, and a second time only where a column has values that no type holds.

    Args:
        paths: files, or folders of parts, in order.
        destination: the file to write.
        strict: columns whose values must have one type; others that have not are kept as JSON text, marked in the schema
            (`decode`). None: all columns.
        on_bad: takes each bad row, which is left out; None: they are told at once, and nothing is written.

    Raises:
        RowsError: with every bad row (after 1,000 at once), or a file that is damaged.
    """
    with paused_collection():
        return _convert(list_files(paths), os.fspath(destination), strict, on_bad)


def infer_schema(paths: Paths, *, strict: Collection[str] | None = None, on_bad: OnBad | None = None) -> Converted:
    """Return what `to_arrow` would, without writing: the check of a dataset."""
    with paused_collection():
        return _convert(list_files(paths), None, strict, on_bad)


def decode(row: Mapping[str, Any], json_columns: Collection[str]) -> dict[str, Any]:
    """Return a row of the table with the values of its JSON columns."""
    return {
        name: json.loads(value) if name in json_columns and value is not None else value for name, value in row.items()
    }


def json_columns_of(schema: pa.Schema) -> tuple[str, ...]:
    """Return the columns of a table that hold JSON text."""
    return tuple(column.name for column in schema if (column.metadata or {}).items() >= JSON_MARK.items())


def _convert(
    files: list[str], destination: str | None, strict: Collection[str] | None, on_bad: OnBad | None
) -> Converted:
    problems = ProblemList()
    first = _Pass(files, on_bad or problems)
    converted = first.run(destination)
    if not first.mixed:
        problems.finish()
        return _of(converted)
    as_json = {name for name in first.mixed if strict is not None and name not in strict}
    checked = _look_closely(files, first.mixed - as_json)
    odd = [problem for node in checked.values() for problem in node.problems()]
    if on_bad is None and (odd or problems.kept):
        raise RowsError([*problems.kept, *odd])
    second = _Pass(files, on_bad or problems, as_json=as_json, checked=checked, is_second=True)
    converted = second.run(destination)
    if second.mixed:
        got = f"other values than a moment ago in {', '.join(sorted(second.mixed))}"
        raise damaged(files[0], got, "files that nobody writes", "try again when they are whole")
    return _of(converted)


def _of(converted: Converted | None) -> Converted:
    assert converted is not None  # nothing was mixed
    return converted


def _look_closely(files: list[str], columns: Collection[str]) -> dict[str, Node]:
    """Return what stands in these columns, over all rows."""
    nodes = {name: Node() for name in columns}
    for batch in read_batches(files, lambda problem: None):
        for index, row in enumerate(batch.rows):
            for name, node in nodes.items():
                if row.get(name) is not None:
                    node.add(row[name], batch.place(index), name)
    return nodes


@dataclass
class _Pass:
    """One reading of all files."""

    files: list[str]
    on_bad: OnBad
    as_json: set[str] = field(default_factory=set)
    checked: Mapping[str, Node] = field(default_factory=dict)
    is_second: bool = False
    mixed: set[str] = field(default_factory=set)
    _types: dict[str, pa.DataType] = field(default_factory=dict)
    _bounds: dict[tuple[str, ...], tuple[int, int]] = field(default_factory=dict)
    _file_indices: list[npt.NDArray[np.int32]] = field(default_factory=list)
    _numbers: list[npt.NDArray[np.int64]] = field(default_factory=list)

    def run(self, destination: str | None) -> Converted | None:
        """Read, and write unless `destination` is None; return None where a column is mixed."""
        if destination is None:
            return self._read(None)
        with SegmentWriter(destination) as writer:
            return self._read(writer)

    def _read(self, writer: SegmentWriter | None) -> Converted | None:
        # What the first reading has told, the second does not tell again.
        on_bad = _say_nothing if self.is_second else self.on_bad
        for index, file in enumerate(self.files):
            for batch in read_batches([file], on_bad):
                self._add(self._without_odd(batch), index, writer)
        for path, (low, high) in self._bounds.items():
            if path[0] not in self.mixed and not holds(self._types[path[0]], path[1:], low, high):
                self.mixed.add(path[0])
        if self.mixed:
            return None
        schema = make_schema(self._types, self.as_json)
        if writer is not None:
            writer.finish(schema)
        file_indices = np.concatenate([np.zeros(0, np.int32), *self._file_indices])
        numbers = np.concatenate([np.zeros(0, np.int64), *self._numbers])
        return Converted(schema, json_columns_of(schema), tuple(self.files), file_indices, numbers)

    def _add(self, batch: Batch, file_index: int, writer: SegmentWriter | None) -> None:
        count = len(batch.numbers)
        if not count:
            return
        self._file_indices.append(np.full(count, file_index, np.int32))
        self._numbers.append(np.asarray(batch.numbers, np.int64))
        arrays = {}
        for name, values in to_columns(batch).items():
            if name in self.mixed:
                continue
            try:
                arrays[name] = self._to_array(name, values, batch)
            except MixedColumn:
                self.mixed.add(name)
        if len(self._types) > MOST_FIELDS:
            raise damaged(batch.file, f"more than {MOST_FIELDS} different columns", "rows", "make objects of them")
        if writer is None or self.mixed:
            return
        part = pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))
        # What does not fit is told at the end, when all bounds are known.
        with contextlib.suppress(pa.ArrowInvalid):
            writer.write(widen(part, make_schema(self._types, self.as_json)))

    def _to_array(self, name: str, values: Any, batch: Batch) -> pa.Array:
        if name in self.as_json:
            try:
                array = to_json_texts(values)
            except UnreadableRow as refused:
                _, *parts = refused.parts
                raise RowsError([RowProblem(batch.place(0), name, *parts)]) from None
        else:
            array = to_array(values, self._types.get(name))
        conflicts: list[str] = []
        self._types[name] = unify(self._types.get(name, pa.null()), array.type, name, conflicts)
        if conflicts:
            raise MixedColumn
        for path, low, high in whole_number_bounds(array, (name,)):
            known = self._bounds.get(path, (low, high))
            self._bounds[path] = (min(low, known[0]), max(high, known[1]))
        return array

    def _without_odd(self, batch: Batch) -> Batch:
        """Return the batch without the rows that are odd in a checked column; they go to `on_bad`."""
        if not self.checked:
            return batch
        kept = []
        for index, row in enumerate(batch.rows):
            problems = [
                RowProblem(
                    batch.place(index), path, f"{show(value)}, {kind}", expected, "write it the same way everywhere"
                )
                for name, node in self.checked.items()
                for path, value, kind, expected in node.find_odd(row.get(name), name)
            ]
            for problem in problems:
                self.on_bad(problem)
            if not problems:
                kept.append(index)
        lines = batch.lines if isinstance(batch, RowBatch) else batch.numbers
        return RowBatch(
            batch.file,
            [batch.rows[index] for index in kept],
            [batch.numbers[index] for index in kept],
            [lines[index] for index in kept],
        )


def _say_nothing(problem: RowProblem) -> None:
    """Take a problem that was told before."""
