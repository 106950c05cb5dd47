"""Rows for other programs, as a JSON list or one a line; written at one stroke."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .atomic import write_parts
from .outputs import written


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], *, by: str | None = None) -> None:
    """Write rows as a JSON list, or one a line where the name ends in .jsonl.

    Args:
        path: replaced at one stroke.
        rows: need not be in memory together.
        by: the command that may write over the file again, see `outputs`; None notes nothing.

    Raises:
        WriteRefused: the disk is full, read-only or failed; the file is as it was.
    """
    parts = _lines(rows) if path.suffix == ".jsonl" else _list(rows)
    if by is None:
        write_parts(path, parts)
        return
    with written(path, by=by) as temporary:
        write_parts(temporary, parts)


def _lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for row in rows:
        yield json.dumps(row, ensure_ascii=False) + "\n"


def _list(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    before = "[\n"
    for row in rows:
        yield before + json.dumps(row, ensure_ascii=False)
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def read_lines(path: Path) -> list[Any]:
    """Return the values of a .jsonl file; none where there is no file."""
    if not path.exists():
        return []
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]
