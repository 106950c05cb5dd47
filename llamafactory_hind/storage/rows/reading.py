"""Rows one after the other, from any of the files, as plain Python values."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .batches import Batch
from .csv_files import read_csv
from .files import CSV, JSON, Paths, kind_of, list_files
from .json_files import read_json
from .problems import OnBad, Place, ProblemList
from .table_files import read_table


@dataclass(slots=True)
class Row:
    """One row.

    Attributes:
        file: its path as given.
        number: its number in the file, from 1; a row that cannot be read has a number, too.
        line: the line on which it starts, from 1; None in files without lines.
        values: field -> value as it was written; a field that is missing is the same as one that is null.
    """

    file: str
    number: int
    line: int | None
    values: dict[str, Any]

    @property
    def place(self) -> Place:
        """Where the row is, for messages."""
        return Place(self.file, self.number, self.line)


def iterate(paths: Paths, *, on_bad: OnBad | None = None, half_characters: bool = False) -> Iterator[Row]:
    """Yield the rows of files and folders, streaming from disk.

    Args:
        paths: files, or folders of parts, in order.
        on_bad: takes each row that cannot be read, and reading goes on; None: they are reported when all others were read.
        half_characters: keep half a surrogate pair, which a model may write and no table can hold; else such a row is bad.

    Raises:
        RowsError: with every bad row (after 1,000 at once), or a file that is damaged and so cannot be skipped.
    """
    problems = ProblemList()
    for batch in read_batches(list_files(paths), on_bad or problems, half_characters=half_characters):
        for number, line, values in zip(batch.numbers, batch.lines, batch.rows, strict=True):
            yield Row(batch.file, number, line, values)
    problems.finish()


def read_batches(files: list[str], on_bad: OnBad, *, half_characters: bool = False) -> Iterator[Batch]:
    """Yield the rows of `files` some hundreds at a time."""
    for file in files:
        kind = kind_of(file)
        if kind == JSON:
            yield from read_json(file, on_bad, half_characters=half_characters)
        elif kind == CSV:
            yield from read_csv(file, on_bad)
        else:
            yield from read_table(file)
