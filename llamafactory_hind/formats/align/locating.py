"""Where a row is: its file and its number there, counted from 1, through sampling, slicing and folders of files."""

import bisect
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Dataset, ReadInstruction, load_dataset
from llamafactory.extras.constants import DATA_CONFIG, FILEEXT2TYPE

from ...config.problem import RowProblem
from ...storage.rows import decode
from ..problems import BadRow
from .columns import Places
from .tables import Table


if TYPE_CHECKING:
    from llamafactory.data.parser import DatasetAttr
    from llamafactory.hparams import DataArguments


class RowLocator:
    """Names the rows of one dataset the way its author sees them.

    Args:
        dataset_attr: the host's description of the dataset.
        data_args: the host's data arguments.
    """

    def __init__(self, dataset_attr: "DatasetAttr", data_args: "DataArguments") -> None:
        """Resolve the path; files are counted only when a row must be named."""
        self.attr = dataset_attr
        self.name = dataset_name(dataset_attr, data_args)
        self.path = dataset_attr.dataset_name
        if dataset_attr.load_from == "file":
            self.path = os.path.join(data_args.dataset_dir, dataset_attr.dataset_name)
        self.table: Table | None = getattr(dataset_attr, "hind_table", None)  # None where the host has loaded the rows
        self._files: list[str] | None = None
        self._ends: list[int] = []  # rows up to and with each file
        self._numbers: dict[str, int] | None = None

    def numbers(self, dataset: Dataset) -> np.ndarray:
        """Return the number of each row, (rows,), counted from 1 over all files as stored, before any sampling or cut."""
        indices = dataset._indices
        stored = np.arange(len(dataset)) if indices is None else indices.column(0).to_numpy().astype(np.int64)
        return stored + self._offset() + 1

    def place(self, number: int) -> tuple[str, int]:
        """Return (file, number in that file), both numbers counted from 1."""
        if self.table is not None:
            return self.table.place(number - 1)
        files = self.files()
        if len(files) < 2:
            return (files or [self.path])[0], number
        self._count()
        index = bisect.bisect_left(self._ends, number)
        return files[index], number - (self._ends[index - 1] if index else 0)

    def places(self, numbers: np.ndarray) -> Places:
        """Return where many rows are, by their numbers over all files, (rows,)."""
        if self.table is None:
            return Places((self.path,), np.zeros(len(numbers), dtype=np.int64), numbers)
        return Places(self.table.files, self.table.file_indices[numbers - 1], self.table.numbers[numbers - 1])

    def find(self, row: Mapping[str, Any]) -> tuple[str, int | None]:
        """Return (file, row number) of the first stored row equal to `row`: a stream's shards keep no numbers."""
        if self._numbers is None:
            self._numbers = {}
            for number, other in enumerate(self._stored(), start=1):
                self._numbers.setdefault(_canonical(other), number)
        found = self._numbers.get(_canonical(row))
        return (self.path, None) if found is None else self.place(found)

    def _stored(self) -> Iterator[Mapping[str, Any]]:
        if self.table is None:
            yield from itertools.chain.from_iterable(self._load(file) for file in self.files())
            return
        for row in Dataset.from_file(self.table.path):
            yield decode(row, self.json_columns)

    @property
    def json_columns(self) -> tuple[str, ...]:
        """Columns that hold JSON text."""
        return self.table.json_columns if self.table else ()

    def unreadable(self) -> list[BadRow]:
        """Return the rows that are not in the table because they cannot be read."""
        return [
            BadRow(
                problem.place.file,
                problem.place.row,
                (RowProblem(problem.field or "row", problem.got, problem.expected, problem.remedy),),
                {},
            )
            for problem in (self.table.unreadable if self.table else ())
        ]

    def _offset(self) -> int:
        """Return how many stored rows a sliced split such as `train[100:]` leaves out in front."""
        if "[" not in self.attr.split:
            return 0
        name, total = self.attr.split.split("[")[0], self._total()
        absolute = ReadInstruction.from_spec(self.attr.split).to_absolute({name: total}) if total else []
        return (absolute[0].from_ or 0) if absolute else 0

    def files(self) -> list[str]:
        """Return the files of the dataset, none when it is not a local one."""
        # The order of os.listdir is the order in which the host gave the files to `load_dataset`.
        if self._files is None:
            is_folder = self.attr.load_from == "file" and os.path.isdir(self.path)
            files = [os.path.join(self.path, name) for name in os.listdir(self.path)] if is_folder else [self.path]
            self._files = files if self.attr.load_from == "file" else []
        return self._files

    def _total(self) -> int:
        if self.table is not None:
            return len(self.table.numbers)
        self._count()
        return self._ends[-1] if self._ends else 0

    def _count(self) -> None:
        if not self._ends:
            self._ends = list(itertools.accumulate(len(self._load(file)) for file in self.files()))

    def _load(self, file: str) -> Dataset:
        file_type = FILEEXT2TYPE[os.path.splitext(file)[-1][1:]]
        return load_dataset(file_type, data_files=[file], split=self.attr.split.split("[")[0])


def dataset_name(dataset_attr: "DatasetAttr", data_args: "DataArguments") -> str:
    """Return the dataset's name in `dataset_info.json`, which the host does not keep; else the name of its file."""
    info = data_args.dataset_dir
    if isinstance(info, str):
        path = os.path.join(info, DATA_CONFIG)
        info = {}
        if os.path.isfile(path):
            with open(path, encoding="utf-8") as file:
                info = json.load(file)
    entry = getattr(dataset_attr, "hind_info", None)
    name: str
    for name in [*(data_args.dataset or []), *(data_args.eval_dataset or [])]:
        if entry is not None and info.get(name) == entry:
            return name
    name = os.path.basename(os.path.normpath(dataset_attr.dataset_name))
    return os.path.splitext(name)[0]


def _canonical(row: Mapping[str, Any]) -> str:
    return json.dumps(dict(row), sort_keys=True, default=str)
