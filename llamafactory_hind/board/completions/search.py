"""Text search through all completions: newest first, a slice of time at a time, as a literal, with a count; it can be stopped."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .index import SLICE, Index, Rows


Key = tuple[Path, int]  # a file, and when it was changed
COLUMNS = ("completion", "prompt", "row_id")


@dataclass
class Search:
    """One text, looked for in the files of a run.

    Attributes:
        text: a literal; case does not matter.
        stopped: by the user; `advance` does nothing any more.
    """

    text: str
    stopped: bool = False
    _found: dict[Key, np.ndarray] = field(default_factory=dict)
    _groups: dict[Key, int] = field(default_factory=dict)  # row groups that are done, of a file that is not

    def advance(self, index: Index, seconds: float = SLICE) -> bool:
        """Look through what was not looked through, newest first, for so long; return whether all is done."""
        until = time.perf_counter() + seconds
        for file in sorted(index.rows.files, key=lambda file: (-file.last, file.path.name)):
            if self.stopped:
                return True
            try:
                key = (file.path, file.path.stat().st_mtime_ns)
                done = key in self._found and key not in self._groups
                if not done and not self._look(key, until):
                    return False
            except Exception:  # gone or cut since it was read: `Index` says so
                continue
        return True

    def _look(self, key: Key, until: float) -> bool:
        """Look through a file, its last rows first; return whether there is time left."""
        with pq.ParquetFile(key[0]) as source:
            names = [name for name in COLUMNS if name in source.schema_arrow.names]
            sizes = [source.metadata.row_group(group).num_rows for group in range(source.num_row_groups)]
            found = self._found.setdefault(key, np.zeros(sum(sizes), bool))
            for done in range(self._groups.get(key, 0), len(sizes)):
                group = len(sizes) - 1 - done
                start = sum(sizes[:group])
                for column in source.read_row_group(group, columns=names).columns:
                    hits = pc.fill_null(pc.match_substring(column, self.text, ignore_case=True), False)
                    found[start : start + sizes[group]] |= np.asarray(hits.to_numpy(), dtype=bool)
                self._groups[key] = done + 1
                if time.perf_counter() > until and done + 1 < len(sizes):
                    return False
        self._groups.pop(key, None)
        return time.perf_counter() <= until

    @property
    def looked(self) -> int:
        """How many files were looked through."""
        return len(self._found) - len(self._groups)

    def mask(self, rows: Rows) -> np.ndarray:
        """Return which completions hold the text, as far as they were looked at."""
        by_path = {path: found for (path, _), found in self._found.items()}
        tables = [by_path.get(file.path, np.zeros(0, bool)) for file in rows.files]
        if not len(rows) or not any(found.any() for found in tables):
            return np.zeros(len(rows), bool)
        sizes = np.array([len(found) for found in tables])
        start = np.cumsum(sizes) - sizes
        inside = rows.place < sizes[rows.file]  # else the file was not looked through, or was written again meanwhile
        flat = np.concatenate([*tables, [False]])
        return np.asarray(flat[np.where(inside, start[rows.file] + rows.place, len(flat) - 1)])
