"""Whole records of a few completions, read when a page shows them."""

import json
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .index import Rows


KEPT_GROUPS = 3  # [ours] row groups of 4,096 completions, about 6 MB each
Record = dict[str, Any]


@dataclass
class RecordReader:
    """Reads records; the last few row groups that were read stay in memory."""

    _kept: OrderedDict[tuple[str, int, int], pa.Table] = field(default_factory=OrderedDict)

    def read(self, rows: Rows, picked: Iterable[int]) -> list[Record]:
        """Return the records of completions, `{}` for one whose file has gone meanwhile; JSON columns are still texts."""
        wanted = [int(number) for number in picked]
        found: dict[int, Record] = {}
        by_file: dict[int, list[int]] = {}
        for number in wanted:
            by_file.setdefault(int(rows.file[number]), []).append(number)
        for file, numbers in by_file.items():
            found |= self._of_file(rows.files[file].path, {number: int(rows.place[number]) for number in numbers})
        return [found.get(number, {}) for number in wanted]

    def _of_file(self, path: Path, places: dict[int, int]) -> dict[int, Record]:
        try:
            with pq.ParquetFile(path) as file:
                sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
                starts = np.concatenate([[0], np.cumsum(sizes)])
                found = {}
                for number, place in sorted(places.items(), key=lambda entry: entry[1]):
                    group = int(np.searchsorted(starts, place, side="right")) - 1
                    table = self._group(path, file, group)
                    found[number] = table.slice(place - int(starts[group]), 1).to_pylist()[0]
                return found
        except Exception:  # joined, cut or removed since it was read: it is left out, and the next look says why
            return {}

    def _group(self, path: Path, file: pq.ParquetFile, group: int) -> pa.Table:
        key = (str(path), path.stat().st_mtime_ns, group)
        if key not in self._kept:
            self._kept[key] = file.read_row_group(group)
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT_GROUPS:
            self._kept.popitem(last=False)
        return self._kept[key]


def parsed(record: Record, name: str, default: Any) -> Any:
    """Return a JSON column of a record; the default where it is missing, broken or of another kind."""
    try:
        value = json.loads(record.get(name) or "null")
    except (ValueError, TypeError):
        return default
    return value if isinstance(value, type(default)) else default


def prompt_text(record: Record) -> str:
    """Return what the user asked: the last turn where the conversation is kept, else the decoded prompt."""
    turns = parsed(record, "conversation", {}).get("turns")
    if isinstance(turns, list) and turns and isinstance(turns[-1], dict):
        return str(turns[-1].get("content", ""))
    columns = parsed(record, "columns", {})
    for name in ("prompt", "question"):
        if isinstance(columns.get(name), str):
            return str(columns[name])
    return str(record.get("prompt") or "")


def by_name(records: Sequence[Record], prefix: str) -> list[str]:
    """Return the names of the columns with a prefix that any record has, without it."""
    names = dict.fromkeys(name for record in records for name in record if name.startswith(prefix))
    return [name.removeprefix(prefix) for name in names]
