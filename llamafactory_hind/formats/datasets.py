"""Datasets named in `dataset_info.json`, read without the host: what `synth`, `score` and the importers know of them."""

import contextlib
import itertools
import json
import os
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ..config.problem import ConfigError, Problem
from ..config.types import nearest
from ..storage.rows import RowProblem, RowsError, iterate, list_files
from . import format_names, get_rows
from .fields import read_fields
from .options import RowOptions


@dataclass(frozen=True)
class DatasetRow:
    """One row of a dataset.

    Attributes:
        file: where it is; `number` counts from 1.
        values: as stored.
    """

    file: str
    number: int
    values: dict[str, Any]

    @property
    def place(self) -> str:
        """File and number, for messages."""
        return f"{self.file}, row {self.number}"


@dataclass(frozen=True)
class Dataset:
    """One dataset.

    Attributes:
        name: in `dataset_info.json`.
        path: its file or folder.
        format: what is pure of its format, see `formats.get_rows`.
        options: what its entry says.
    """

    name: str
    path: str
    format: ModuleType
    options: RowOptions

    def files(self) -> list[Path]:
        """Return its path and the files below it; those that cannot be read are told when rows are."""
        with contextlib.suppress(OSError, RowsError):
            return [Path(self.path), *map(Path, list_files(self.path))]
        return [Path(self.path)]

    def rows(self, limit: int | None = None) -> Iterator[DatasetRow | RowProblem]:
        """Yield the first rows in their order, all of them where there is no limit; in place of one that cannot be read, why.

        Raises:
            ConfigError: a file is missing or damaged, so that its other rows are not known, or no row can be read.
        """
        first, is_readable = None, False
        try:
            for row in itertools.islice(self._all_rows(), limit):
                first, is_readable = first or row, is_readable or isinstance(row, DatasetRow)
                yield row
        except (OSError, RowsError) as error:
            raise ConfigError([Problem("dataset", self.name, "files that can be read", f"{error}")]) from None
        if first is not None and not is_readable:
            raise ConfigError([Problem("dataset", self.name, "rows that can be read", f"{first}")])

    def _all_rows(self) -> Iterator[DatasetRow | RowProblem]:
        bad: deque[RowProblem] = deque()  # the reader is some hundred rows ahead
        for row in iterate(self.path, on_bad=bad.append):
            while bad and (bad[0].place.file != row.file or (bad[0].place.row or 0) < row.number):
                yield bad.popleft()
            yield DatasetRow(row.file, row.number, row.values)
        yield from bad

    def fields(self, row: DatasetRow) -> dict[str, Any]:
        """Return a row under our names, without what is null."""
        return read_fields(row.values, self.options)


def open_datasets(
    names: Sequence[str], *, dataset_dir: str, formats: Collection[str] | None = None
) -> tuple[list[Dataset], list[Problem]]:
    """Look datasets up; return them, and what is wrong with the entries of the others. No row is read yet.

    Args:
        names: in `dataset_info.json`.
        dataset_dir: where that file lies.
        formats: that are allowed; None is all of ours.

    Raises:
        ConfigError: `dataset_info.json` cannot be read.
    """
    info_file = Path(dataset_dir) / "dataset_info.json"
    try:
        info = json.loads(info_file.read_text(encoding="utf-8-sig"))
        if not isinstance(info, dict):
            raise ValueError(f"it holds a {type(info).__name__}, expected an object")
    except (OSError, ValueError) as error:
        expected = "a folder with a readable dataset_info.json"
        raise ConfigError([Problem("dataset_dir", dataset_dir, expected, f"{info_file}: {error}.")]) from None
    found: list[Dataset] = []
    problems: list[Problem] = []
    for name in names:
        entry = _open(name, info, dataset_dir, sorted(formats or format_names()))
        (problems if isinstance(entry, Problem) else found).append(entry)  # type: ignore[arg-type]
    return found, problems


def _open(name: str, info: dict[str, Any], dataset_dir: str, formats: Sequence[str]) -> Dataset | Problem:
    if name not in info:
        near = nearest(name, info)
        remedy = f"The nearest is `{near}`." if near else "Choose one."
        return Problem("dataset", name, "one of " + ", ".join(sorted(info)), remedy)
    entry = info[name]
    if not isinstance(entry, dict) or entry.get("formatting") not in formats or "file_name" not in entry:
        expected = f"a dataset with `formatting: {' or '.join(formats)}` and a `file_name`"
        return Problem("dataset", name, expected, f"Only local files of that format are read; see {dataset_dir}.")
    path = os.path.join(dataset_dir, entry["file_name"])
    if not os.path.exists(path):
        return Problem("dataset", name, "a file or folder that is there", f"{path} does not exist.")
    rows = get_rows(entry["formatting"])
    try:
        return Dataset(name, path, rows, rows.read_options(entry, name=name))
    except ValueError as error:
        return Problem("dataset", name, "a valid entry", str(error))
