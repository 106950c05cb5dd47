"""CSV and TSV: every cell is text as it was written, an empty one is null; the first line names the columns."""

import csv
from collections.abc import Iterator
from typing import Any

from . import files
from .batches import RowBatch
from .files import is_tab_separated, read_lines
from .json_text import decode
from .problems import OnBad, Place, UnreadableRow, damaged, show


ROWS_AT_ONCE = 1000


class _Lines:
    """Decodes lines for `csv`, and keeps what is wrong with their bytes until the row is known."""

    def __init__(self, file: str) -> None:
        self.refused: UnreadableRow | None = None
        self._file = file

    def __iter__(self) -> Iterator[str]:
        for block, offset in read_lines(self._file):
            for line in block.split(b"\n"):
                try:
                    yield decode(line, offset) + "\n"
                except UnreadableRow as refused:
                    self.refused = self.refused or refused
                    yield line.decode("utf-8", errors="replace") + "\n"
                offset += len(line) + 1


def read_csv(file: str, on_bad: OnBad) -> Iterator[RowBatch]:
    """Yield the rows of a CSV or TSV file; a row that cannot be read goes to `on_bad`, and the others are read.

    Raises:
        RowsError: the file cannot be read, or its first line does not name columns.
    """
    records = _records(file)
    names = _read_names(file, next(records, None))
    rows: list[dict[str, Any]] = []
    places: list[tuple[int, int]] = []
    for number, (line, cells) in enumerate(records, start=1):
        try:
            rows.append(_make_row(names, cells))
            places.append((number, line))
        except UnreadableRow as refused:
            on_bad(refused.at(Place(file, number, line)))
        if len(rows) >= ROWS_AT_ONCE:
            yield _make_batch(file, rows, places)
            rows, places = [], []
    yield _make_batch(file, rows, places)


def _make_batch(file: str, rows: list[dict[str, Any]], places: list[tuple[int, int]]) -> RowBatch:
    return RowBatch(file, rows, [number for number, _ in places], [line for _, line in places])


def _records(file: str) -> Iterator[tuple[int, list[str] | UnreadableRow]]:
    """Yield (first line, its cells or why it has none) of what is between line ends; blank lines are left out."""
    csv.field_size_limit(max(csv.field_size_limit(), files.LONGEST_ROW))  # the module's own is 128 KiB
    lines = _Lines(file)
    reader = csv.reader(iter(lines), delimiter="\t" if is_tab_separated(file) else ",", strict=True)
    while True:
        line = reader.line_num + 1
        cells: list[str] | UnreadableRow
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            got = f"{error} (lines {line} to {reader.line_num})"
            cells = UnreadableRow(
                None, got, "cells as CSV quotes them", "close quotes, and double those within a cell"
            )
        refused, lines.refused = lines.refused, None
        if cells or refused:
            yield line, refused or cells


def _read_names(file: str, first: tuple[int, list[str] | UnreadableRow] | None) -> list[str]:
    names = [] if first is None else first[1]
    expected = "a first line with the name of every column"
    if isinstance(names, UnreadableRow):
        raise damaged(file, names.parts[1], expected, names.parts[3])
    twice = [name for index, name in enumerate(names) if name in names[:index]]
    if nul := next((name for name in names if "\0" in name), None):
        raise damaged(file, f"the column {show(nul)}", "names without the character U+0000", "rename it")
    if twice or "" in names:
        got = (
            f"the column {show(twice[0])} more than once" if twice else f"column {names.index('') + 1} without a name"
        )
        raise damaged(file, got, expected, "give each column its own name")
    return names


def _make_row(names: list[str], cells: list[str] | UnreadableRow) -> dict[str, Any]:
    if isinstance(cells, UnreadableRow):
        raise cells
    if len(cells) != len(names):
        remedy = "put cells with a separator in quotes; leave empty cells empty"
        raise UnreadableRow(None, f"{len(cells)} cells", f"{len(names)}, one for each column", remedy)
    return {name: cell or None for name, cell in zip(names, cells, strict=True)}
