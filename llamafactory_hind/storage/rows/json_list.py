"""One list of objects, read piece by piece: it is cut at the commas of its outermost level, and each piece is parsed alone."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .batches import RowBatch
from .files import read_blocks, refuse_long
from .json_fast import parse_entries
from .json_text import WHITESPACE, Position, parse_row
from .problems import OnBad, Place, RowsError, UnreadableRow, damaged


# What a byte means for the cuts: 1 opens, 2 closes, 3 is a comma, 4 a quote.
MEANING = bytes(
    {ord("["): 1, ord("{"): 1, ord("]"): 2, ord("}"): 2, ord(","): 3, ord('"'): 4}.get(i, 0) for i in range(256)
)
OPEN, CLOSE, COMMA, QUOTE = 1, 2, 3, 4


def find_cuts(text: bytes) -> tuple[Sequence[int], int | None, int]:
    """Find where the entries of a list end, in text that starts at an entry.

    Returns:
        The places of the commas between entries; the place of the bracket that closes the list, None where it is not there;
        the number of quotes in front of that bracket, or else of the last comma.
    """
    if b"\\" in text:  # escaped backslashes and quotes, in this order, are no quotes; lengths must stay
        text = text.replace(b"\\\\", b"  ").replace(b'\\"', b"  ")
    codes = np.frombuffer(text.translate(MEANING), dtype=np.uint8)  # (bytes,)
    places = np.flatnonzero(codes)
    codes = codes[places]
    is_quote = codes == QUOTE
    outside = (np.cumsum(is_quote) & 1 == 0) & ~is_quote
    places_outside, codes_outside = places[outside], codes[outside]
    depth = np.cumsum((codes_outside == OPEN).astype(np.int64) - (codes_outside == CLOSE))
    ends = np.flatnonzero(depth < 0)
    end = int(places_outside[ends[0]]) if len(ends) else None
    cuts = places_outside[(codes_outside == COMMA) & (depth == 0)]
    if end is not None:
        cuts = cuts[cuts < end]
    limit = end if end is not None else cuts[-1] if len(cuts) else 0
    return cuts.tolist(), end, int(np.count_nonzero(places[is_quote] < limit))


class ListReader:
    """Reads the rows of one file that is a list.

    Args:
        file: its path.
        on_bad: takes the rows that cannot be read.
        half_characters: see `json_text.parse_row`.
    """

    def __init__(self, file: str, on_bad: OnBad, *, half_characters: bool = False) -> None:
        """Start in front of the list."""
        self._file = file
        self._on_bad = on_bad
        self._half_characters = half_characters
        self._number = 0  # of the last row that was read
        self._at = Position(1, 1, 0)  # of the text that was not yet read
        self._is_open = self._is_closed = False

    def batches(self) -> Iterator[RowBatch]:
        """Yield the rows.

        Raises:
            RowsError: the list does not end, or something follows it.
        """
        pieces: list[bytes] = []
        size = wanted = 0
        for block, offset in read_blocks(self._file):
            if not self._at.offset:
                self._at = Position(1, 1, offset)
            pieces.append(block)
            size += len(block)
            if size >= wanted:
                left, batch = self._advance(b"".join(pieces))
                if batch is not None:
                    yield batch
                pieces, size = [left], len(left)
                refuse_long(self._file, size, f"row {self._number + 1}")
                wanted = 2 * size  # an entry longer than a block is not looked through again and again
        left, batch = self._advance(b"".join(pieces))
        if batch is not None:
            yield batch
        if not self._is_closed:
            raise self._broken("the end of the file within the list")

    def _advance(self, text: bytes) -> tuple[bytes, RowBatch | None]:
        """Read what is whole in `text`; return what is left of it, and the rows."""
        if not self._is_open and (before := text.find(b"[") + 1):
            self._pass(text[:before])
            text = text[before:]
            self._is_open = True
        if self._is_closed or not self._is_open:
            if text.strip(WHITESPACE):
                raise self._broken("more text after the list")
            self._pass(text)
            return b"", None
        cuts, end, quotes = find_cuts(text)
        if end is not None:
            if text[end : end + 1] != b"]":
                raise self._broken("a list that a `}` closes")
            self._is_closed = True
            if cuts or self._number or text[:end].strip(WHITESPACE):
                cuts = [*cuts, end]  # behind the last comma, too, there has to be a row
        if not cuts:
            used = 0 if end is None else end + 1
            self._pass(text[:used])
            return text[used:], None
        batch = self._read(text, cuts, quotes)
        left = text[cuts[-1] + 1 :]
        if self._is_closed and left.strip(WHITESPACE):
            raise self._broken("more text after the list")
        return left, batch

    def _read(self, text: bytes, cuts: Sequence[int], quotes: int) -> RowBatch:
        used = text[: cuts[-1] + 1]
        rows = parse_entries(used[:-1], len(cuts), quotes)
        texts = [used[start:stop] for start, stop in zip([0, *(cut + 1 for cut in cuts[:-1])], cuts, strict=True)]
        if rows is None:
            return self._read_carefully(texts)
        lines = list(self._first_lines(texts)) if b"\n" in used else [self._at.line] * len(rows)
        first = self._number + 1
        self._number += len(rows)
        self._pass(used)
        return RowBatch(self._file, rows, range(first, first + len(rows)), lines)

    def _first_lines(self, texts: list[bytes]) -> Iterator[int]:
        line = self._at.line
        for text in texts:
            yield line + text[: len(text) - len(text.lstrip(WHITESPACE))].count(b"\n")
            line += text.count(b"\n")

    def _read_carefully(self, texts: list[bytes]) -> RowBatch:
        rows: list[dict[str, Any]] = []
        numbers: list[int] = []
        lines: list[int] = []
        for text in texts:
            self._number += 1
            before = len(text) - len(text.lstrip(WHITESPACE))
            self._pass(text[:before])
            try:
                rows.append(parse_row(text[before:], self._at, half_characters=self._half_characters))
                numbers.append(self._number)
                lines.append(self._at.line)
            except UnreadableRow as refused:
                self._on_bad(refused.at(Place(self._file, self._number, self._at.line)))
            self._pass(text[before:] + b",")
        return RowBatch(self._file, rows, numbers, lines)

    def _pass(self, text: bytes) -> None:
        """Move the position behind `text`."""
        line = self._at.line + text.count(b"\n")
        column = len(text) - text.rfind(b"\n") if b"\n" in text else self._at.column + len(text)
        self._at = Position(line, column, self._at.offset + len(text))

    def _broken(self, got: str) -> RowsError:
        where = f"{got}, at line {self._at.line}, column {self._at.column}, in row {self._number + 1}"
        return damaged(self._file, where, "one list of objects", "correct the syntax, or download it again")
