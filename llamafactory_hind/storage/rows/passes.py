"""One reading of all files into the batches of a table, or into its types alone."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .batches import Batch, RowBatch
from .columns import MixedColumn, to_array, to_columns, to_json_texts
from .kinds import Node
from .problems import OnBad, Place, RowProblem, RowsError, UnreadableRow, damaged, show
from .reading import read_batches
from .segments import SegmentWriter, json_columns_of, make_schema, widen
from .types import MOST_FIELDS, holds, unify, whole_number_bounds


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
        """Return where row `index` of the table is, counted from 0."""
        return Place(self.files[self.file_indices[index]], int(self.numbers[index]))


@dataclass
class Pass:
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
        # What the first reading has reported, the second does not report again.
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
        # What does not fit is reported at the end, when all bounds are known.
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
    """Take a problem that was reported before."""
