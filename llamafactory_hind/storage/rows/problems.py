"""What is wrong with a row, and where it is; the error that reports many of them at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


SHOWN_PROBLEMS = 20
KEPT_PROBLEMS = 1000  # a file of another format would otherwise fill the memory with one problem a row
SHOWN_CHARACTERS = 80


@dataclass(frozen=True)
class Place:
    """Where a row is.

    Attributes:
        file: its path as given.
        row: its number in the file, from 1; None for what is wrong with the file itself.
        line: the line on which it starts, from 1; None in files without lines.
    """

    file: str
    row: int | None = None
    line: int | None = None

    def __str__(self) -> str:
        """Return file and row, and the line where it is another number."""
        if self.row is None:
            return self.file
        line = f" (line {self.line})" if self.line not in (None, self.row) else ""
        return f"{self.file}, row {self.row}{line}"


@dataclass(frozen=True)
class RowProblem:
    """One thing wrong with a row: what was found and where, what is expected and what to do.

    Attributes:
        field: path of the value, such as `external[2].logprob`; None for the whole row or file.
    """

    place: Place
    field: str | None
    got: str
    expected: str
    remedy: str

    def __str__(self) -> str:
        """Return the problem as one line."""
        field = "" if self.field is None else f", field `{self.field}`"
        return f"{self.place}{field}: got {self.got}, expected {self.expected}; {self.remedy}."


OnBad = Callable[[RowProblem], None]


class RowsError(ValueError):
    """Rows or files that cannot be read, all of them at once."""

    def __init__(self, problems: Sequence[RowProblem], total: int | None = None) -> None:
        """Keep the problems and build the message.

        Args:
            problems: at least one.
            total: how many there are where not all were kept.
        """
        self.problems = list(problems)
        self.total = len(self.problems) if total is None else total
        count = "1 problem" if self.total == 1 else f"{self.total} problems"
        lines = [f"  - {problem}" for problem in self.problems[:SHOWN_PROBLEMS]]
        if self.total > SHOWN_PROBLEMS:
            lines.append(f"  … and {self.total - SHOWN_PROBLEMS} more.")
        super().__init__("\n".join([f"{count} in the rows:", *lines]))


class ProblemList:
    """Collects problems, so that one error tells all."""

    def __init__(self) -> None:
        """Start with none."""
        self.kept: list[RowProblem] = []

    def __call__(self, problem: RowProblem) -> None:
        """Note a problem.

        Raises:
            RowsError: there are too many to go on.
        """
        self.kept.append(problem)
        if len(self.kept) >= KEPT_PROBLEMS:
            self.finish()

    def finish(self) -> None:
        """Raise `RowsError` with what was noted, if anything was."""
        if self.kept:
            raise RowsError(self.kept)


class UnreadableRow(Exception):
    """Why one row cannot be read; its reader adds where it is."""

    def __init__(self, field: str | None, got: str, expected: str, remedy: str) -> None:
        """Keep the parts of the problem."""
        super().__init__(got)
        self.parts = (field, got, expected, remedy)

    def at(self, place: Place) -> RowProblem:
        """Return the problem of the row at `place`."""
        return RowProblem(place, *self.parts)


def damaged(file: str, got: str, expected: str, remedy: str) -> RowsError:
    """Return the error for a file that cannot be read on: its other rows are unknown, so that it cannot be skipped."""
    return RowsError([RowProblem(Place(file), None, got, expected, remedy)])


def show(value: Any) -> str:
    """Return a value for a message: its repr, shortened in the middle."""
    try:
        text = repr(value)
    except ValueError:  # a whole number with more digits than Python writes
        text = "a whole number of thousands of digits"
    half = SHOWN_CHARACTERS // 2
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: half - 1]}…{text[-half:]}"
