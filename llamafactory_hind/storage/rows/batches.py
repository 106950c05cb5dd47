"""Rows on their way from a reader: some hundreds at a time, as Python values or as a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from .problems import Place


@dataclass(frozen=True)
class RowBatch:
    """Rows of one file.

    Attributes:
        file: where they are.
        rows: their values.
        numbers: of each row, from 1; a row that cannot be read has a number, too.
        lines: on which each starts, from 1.
    """

    file: str
    rows: list[dict[str, Any]]
    numbers: Sequence[int]
    lines: Sequence[int]

    def place(self, index: int) -> Place:
        """Return where the row at `index` is."""
        return Place(self.file, self.numbers[index], self.lines[index])


@dataclass(frozen=True)
class TableBatch:
    """Rows of a Parquet or Arrow file, in the types that all readers share."""

    file: str
    table: pa.RecordBatch
    first: int

    @property
    def numbers(self) -> Sequence[int]:
        """The number of each row, from 1."""
        return range(self.first, self.first + self.table.num_rows)

    @property
    def lines(self) -> Sequence[None]:
        """None for each row: the file has no lines."""
        return [None] * self.table.num_rows

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The rows as Python values."""
        return self.table.to_pylist()  # type: ignore[no-any-return]

    def place(self, index: int) -> Place:
        """Return where the row at `index` is."""
        return Place(self.file, self.first + index)


Batch = RowBatch | TableBatch
