"""A selection of completions as a file: CSV, JSON lines, or rows of the `rollout` format whose `external` actions they are."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...config.problem import ConfigError, Problem
from ...formats.media.fields import MEDIA_FIELDS
from ...storage.atomic import write_parts
from ...storage.outputs import foreign_problems, written
from .records import Record, parsed


BY = "browse"  # who wrote a file, see `storage.outputs`
FOLDER = "exports"  # below the run
KINDS = {"csv": ".csv", "jsonl": ".jsonl", "external": ".jsonl"}
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,100}")
FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for one
ROW_ONLY = ("external", "region_order", "convention", "image_size", "processed_size", "box_image")


def export(
    folder: Path, name: str, kind: str, records: Iterable[Record], *, exports: Path | None = None
) -> tuple[Path, int]:
    """Write completions to `exports/<name>` below the folder of a run; return the file, and how many rows it has.

    Args:
        folder: of the run.
        name: of the file, without a folder; its ending is added.
        kind: one of `KINDS`.
        records: as `RecordReader.read` gives them; they need not be in memory together.
        exports: another folder for the file.

    Raises:
        ConfigError: a name that is none, or a file that something else wrote.
        WriteRefused: the disk refused.
    """
    path = (exports or folder / FOLDER) / _file_name(name, kind)
    problems = list(foreign_problems("name", [path], by=BY))
    if problems:
        raise ConfigError(problems)
    path.parent.mkdir(parents=True, exist_ok=True)
    counted = _Count()
    write: dict[str, Callable[[Iterable[Record]], Iterator[str]]] = {
        "csv": _csv,
        "jsonl": lambda some: (_line(flat(record)) for record in some),
        "external": lambda some: map(_line, external_rows(some)),
    }
    with written(path, by=BY) as temporary:
        write_parts(temporary, counted.count(write[kind](record for record in records if record)))
    return path, counted.number - (kind == "csv")


def _file_name(name: str, kind: str) -> str:
    if kind not in KINDS:
        raise ConfigError([Problem("kind", kind, f"one of {', '.join(KINDS)}", "Choose one of them.")])
    stem = name.strip().removesuffix(KINDS[kind])
    if not NAME.fullmatch(stem):
        expected = "letters, digits, `_`, `-` and points, without a folder"
        raise ConfigError([Problem("name", name, expected, "Give another name; the file goes below the run.")])
    return stem + KINDS[kind]


class _Count:
    number = 0

    def count(self, parts: Iterable[str]) -> Iterator[str]:
        for part in parts:
            self.number += 1
            yield part


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str) + "\n"


def flat(record: Record) -> dict[str, Any]:
    """Return a record with its JSON columns as values."""
    return {name: _value(name, value) for name, value in record.items()}


def _value(name: str, value: Any) -> Any:
    if name not in ("media", "columns", "extra", "boxes", "hints", "conversation") or not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _csv(records: Iterable[Record]) -> Iterator[str]:
    names: list[str] = []
    for record in records:
        if not names:
            names = list(record)
            yield _csv_line(names)
        yield _csv_line([_cell(record.get(name)) for name in names])


def _csv_line(values: Sequence[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(values)
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    """Return a value as a cell; what a spreadsheet would run as a formula gets an apostrophe before it."""
    return "'" + value if isinstance(value, str) and value.startswith(FORMULAS) else value


def external_rows(records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    """Yield a `rollout` row for each dataset row, its completions as `external` actions, each text of a source once.

    Completions of the policy get the source `browsed`: `policy` is a name that such a row may not use.
    """
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        row_id = str(record.get("row_id") or "")
        if row_id not in found:
            found[row_id] = prompt_row(record)
        source = str(record.get("source") or "browsed")
        entry = {"source": "browsed" if source == "policy" else source, "text": str(record.get("completion") or "")}
        actions = found[row_id]["external"]
        if entry["text"].strip() and not any(entry.items() <= action.items() for action in actions):
            actions.append({**entry, "logprob": None})
    yield from (row for row in found.values() if row["external"])


def prompt_row(record: Record) -> dict[str, Any]:
    """Return the row of a completion: its columns, its media relative to the media folder, its turns, no action yet."""
    columns = parsed(record, "columns", {})
    row: dict[str, Any] = {"id": str(record.get("row_id") or "")}
    row |= {name: value for name, value in columns.items() if name not in ROW_ONLY}
    media = parsed(record, "media", {})
    row |= {kind: media[kind] for kind in MEDIA_FIELDS if media.get(kind)}
    if not isinstance(row.get("prompt"), str) and not row.get("messages"):
        row |= _turns(record)
    return {**row, "external": []}


def _turns(record: Record) -> Mapping[str, Any]:
    told = parsed(record, "conversation", {})
    turns = told.get("turns")
    if not isinstance(turns, list) or not turns:
        return {"prompt": str(record.get("prompt") or "")}
    system = {"system": told["system"]} if told.get("system") else {}
    return {"messages": turns, **system}
