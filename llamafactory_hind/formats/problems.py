"""Bad rows: one error that names them all, or a side file and a count when they are skipped."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.problem import RowProblem, listed, show
from ..storage.append_log import append_new_line
from ..storage.atomic import remove, write_parts


@dataclass(frozen=True)
class BadRow:
    """A row with its problems; `number` counts from 1 in the file as it is stored, None where that cannot be known."""

    file: str
    number: int | None
    problems: tuple[RowProblem, ...]
    content: Mapping[str, Any]

    @property
    def place(self) -> str:
        """File and number, the name alone where there is no number."""
        return self.file if self.number is None else f"{self.file}, row {self.number}"

    def __str__(self) -> str:
        """Return one line a problem."""
        place = self.place if self.number is not None else f"{self.file}, row {show(self.content)}"
        return "\n  - ".join(f"{place}, {problem}." for problem in self.problems)

    def to_json(self) -> str:
        """Return the line of the side file."""
        record = {
            "file": self.file,
            "row": self.number,
            "field": self.problems[0].field,
            "reason": "; ".join(str(problem) for problem in self.problems),
            "content": dict(self.content),
        }
        return json.dumps(record, ensure_ascii=False, sort_keys=True, default=_show_unwritable)


class BadRowsError(ValueError):
    """Rows that cannot be trained on, all of a dataset at once."""

    def __init__(self, rows: Sequence[BadRow], *, dataset: str, checked: int | None, side_file: str | None) -> None:
        """Build the message.

        Args:
            rows: the bad rows, at least one.
            dataset: its name.
            checked: number of rows looked at, None where it is not known.
            side_file: where skipped rows would be listed, None where skipping cannot help.
        """
        self.rows = list(rows)
        total = "" if checked is None else f" of {checked}"
        title = f"Dataset {dataset}: {len(rows)} bad row{'s' if len(rows) > 1 else ''}{total}."
        if side_file is None:
            remedy = "Correct them: with these rows the file cannot be read as a table, so they cannot be skipped."
        else:
            remedy = f"Correct them, or set `skip_bad_rows: true` to leave them out and list them in {side_file}."
        super().__init__(f"{title}{listed(rows)}\n{remedy}")


class NoRowsLeft(ValueError):
    """Every row of a run was left out."""

    def __init__(self, names: Sequence[str], side_files: Sequence[str]) -> None:
        """Build the message.

        Args:
            names: of the datasets.
            side_files: that list the rows and say why; none where bad rows are not skipped.
        """
        why = f"see {', '.join(side_files)}" if side_files else "its rows have no prompt and answer"
        super().__init__(f"Dataset {', '.join(names)}: no row is left, each one is bad; {why}. Correct the rows.")


def write_side_file(path: str, rows: Sequence[BadRow]) -> None:
    """Write the skipped rows, one JSON object a line; with no rows, remove the file of an earlier run."""
    if rows:
        write_parts(Path(path), (row.to_json() + "\n" for row in rows))
    else:
        remove(Path(path))


def append_to_side_file(path: str, row: BadRow) -> bool:
    """Append one skipped row unless the file has it: streams pass the same row again in every epoch and worker.

    Returns:
        Whether the row is new.
    """
    return append_new_line(Path(path), row.to_json())


def _show_unwritable(value: Any) -> str:
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else str(value)
