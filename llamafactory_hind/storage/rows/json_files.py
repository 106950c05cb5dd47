"""JSON files: an object a line, or one list of objects; which of them, the first character says, not the file's name."""

from collections.abc import Iterator
from typing import Any

from .batches import RowBatch
from .files import read_blocks, read_lines
from .json_fast import parse_lines
from .json_list import ListReader
from .json_text import WHITESPACE, Position, parse_row
from .problems import OnBad, Place, UnreadableRow


def read_json(file: str, on_bad: OnBad, *, half_characters: bool = False) -> Iterator[RowBatch]:
    """Yield the rows of a JSON file; a row that cannot be read goes to `on_bad`, and the others are read.

    Raises:
        RowsError: the file cannot be read, or its list does not end.
    """
    if _starts_with_list(file):
        yield from ListReader(file, on_bad, half_characters=half_characters).batches()
        return
    number = line = 0
    for block, offset in read_lines(file):
        rows = parse_lines(block)
        if rows is not None:
            count = lines = len(rows)
            yield RowBatch(file, rows, range(number + 1, number + count + 1), range(line + 1, line + count + 1))
        else:
            texts = block.split(b"\n")
            yield _read_carefully(file, texts, Position(line + 1, 1, offset), number, on_bad, half_characters)
            count, lines = sum(bool(text.strip(WHITESPACE)) for text in texts), len(texts)
        number += count
        line += lines


def _read_carefully(
    file: str, texts: list[bytes], start: Position, number: int, on_bad: OnBad, half_characters: bool
) -> RowBatch:
    """Return the rows of lines of which one at least is blank, bad or in doubt."""
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    lines: list[int] = []
    offset = start.offset
    for line, text in enumerate(texts, start=start.line):
        if text.strip(WHITESPACE):
            number += 1
            try:
                rows.append(parse_row(text, Position(line, 1, offset), half_characters=half_characters))
                numbers.append(number)
                lines.append(line)
            except UnreadableRow as refused:
                on_bad(refused.at(Place(file, number, line)))
        offset += len(text) + 1
    return RowBatch(file, rows, numbers, lines)


def _starts_with_list(file: str) -> bool:
    for block, _ in read_blocks(file):
        if first := block.strip(WHITESPACE)[:1]:
            return first == b"["
    return False
