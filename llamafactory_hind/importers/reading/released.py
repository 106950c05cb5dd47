"""The objects of a released file, one after the other from disk: no list of them is in memory."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...config.problem import show
from ...storage.rows import RowProblem, RowsError, iterate
from ...storage.rows.files import read_blocks
from ...storage.rows.json_text import WHITESPACE, Position, UnreadableRow, parse_carefully
from .faults import ImportRefused, current


KINDS: dict[Any, str] = {str: "text", int: "a whole number", bool: "true or false", list: "a list", dict: "an object"}
LINES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
TABLES = (".csv", ".tsv", ".parquet", ".arrow")


class Unreadable:
    """Stands for an entry that cannot be read, so that those behind it keep their numbers; `Reader.take` notes it."""

    def __init__(self, problem: RowProblem) -> None:
        """Keep what is wrong."""
        self.problem = problem
        if (faults := current()) is not None:
            faults.unreadable.add(str(problem))

    def noted_at(self, place: str) -> str:
        """Return what is wrong with the entry at `place`, to be reported by the caller."""
        if (faults := current()) is not None:
            faults.noted[str(self.problem)] = place
        problem, line = self.problem, self.problem.place.line
        row = f"row {problem.place.row}"
        where = place if place.endswith(row) else f"{place} ({row}" + (f", line {line})" if line is not None else ")")
        field = "" if problem.field is None else f", field `{problem.field}`"
        return f"{where}{field}: got {problem.got}, expected {problem.expected}; {problem.remedy}"


class Released:
    """The entries of a file, read anew each time it is iterated.

    Yields plain Python values, and `Unreadable` where a row is damaged.

    Raises:
        ImportRefused: the file is missing or damaged, or not a list of objects or an object a line.
    """

    def __init__(self, path: Path) -> None:
        """Look at the beginning of the file."""
        self.path = path
        name = path.name.lower()
        if not name.endswith(TABLES):
            first = _first_character(path)
            if first != b"[" and not (name.endswith(LINES) and first == b"{"):
                raise of_another_form(path, read_whole(path), list)

    def __iter__(self) -> Iterator[Mapping[str, Any] | Unreadable]:
        """Yield the entries in order."""
        damaged: dict[int, RowProblem] = {}
        number = 1
        rows = iterate([self.path], on_bad=lambda problem: damaged.setdefault(problem.place.row or 0, problem))
        try:
            for row in rows:
                while number < row.number:
                    yield Unreadable(damaged.pop(number))
                    number += 1
                yield row.values
                number += 1
        except RowsError as error:
            raise unreadable(str(error.problems[0]).removesuffix(".")) from None
        for problem in damaged.values():  # behind the last row that could be read
            yield Unreadable(problem)


def read_whole(path: Path) -> Any:
    """Return the content of a JSON file that is one value.

    Raises:
        ImportRefused: it is missing, or no JSON.
    """
    try:
        blocks = list(read_blocks(str(path)))
        start = Position(1, 1, blocks[0][1] if blocks else 0)
        return parse_carefully(b"".join(block for block, _ in blocks), start)
    except RowsError as error:
        raise unreadable(str(error.problems[0]).removesuffix(".")) from None
    except UnreadableRow as refused:
        field, got, expected, remedy = refused.parts
        where = f"{path}, field `{field}`" if field else str(path)
        raise unreadable(f"{where}: got {got}, expected {expected}; {remedy}") from None


def of_another_form(path: Path, content: Any, kind: type) -> ImportRefused:
    """Return the error for a file whose outermost value is not the released one."""
    problem = f"{path}: got {show(content)}, expected {KINDS[kind]} at the top level"
    return ImportRefused("A file does not have the released form.", [problem], "Give the released file.")


def unreadable(problem: str) -> ImportRefused:
    """Return the error for a file that cannot be read at all."""
    return ImportRefused("A file cannot be read.", [problem], "Correct the path or the file.")


def _first_character(path: Path) -> bytes:
    try:
        for block, _ in read_blocks(str(path)):
            if first := block.strip(WHITESPACE)[:1]:
                return first
    except RowsError as error:
        raise unreadable(str(error.problems[0]).removesuffix(".")) from None
    return b""
