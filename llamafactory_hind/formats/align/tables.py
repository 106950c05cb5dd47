"""Local files as one table on disk, read by `storage.rows`: no type is guessed from the first rows, and every row keeps its place.

The host calls `datasets.load_dataset`, which makes a timestamp of a text that looks like a date, fixes columns by a file's first
block, and ends in an Arrow error without file or row.
"""

import dataclasses
import hashlib
import json
import os
import zipfile
from collections.abc import Collection
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
from datasets import Dataset, ReadInstruction

from ... import __version__
from ...storage.atomic import write_by
from ...storage.rows import Place, RowProblem, RowsError, list_files, to_arrow
from .. import format_names, get_rows
from ..media.fields import MEDIA_FIELDS


if TYPE_CHECKING:
    from llamafactory.data.parser import DatasetAttr
    from llamafactory.hparams import DataArguments, ModelArguments


@dataclass(frozen=True)
class Table:
    """One dataset's table.

    Attributes:
        path: the Arrow file.
        files: those that were read, in order.
        file_indices: for each row the index of its file, (rows,).
        numbers: for each row its number in that file, from 1, (rows,).
        json_columns: columns that hold JSON text.
        unreadable: rows that are not in the table, and why.
    """

    path: str
    files: tuple[str, ...]
    file_indices: np.ndarray
    numbers: np.ndarray
    json_columns: tuple[str, ...]
    unreadable: tuple[RowProblem, ...]

    def place(self, index: int) -> tuple[str, int]:
        """Return file and number, from 1, of row `index` of the table, from 0."""
        return self.files[self.file_indices[index]], int(self.numbers[index])


HOST_FORMATS = ("alpaca", "sharegpt", "openai")
HOST_COLUMNS = (  # of the host's description of a dataset: the names of the columns that its formats read
    *("system", "tools", "images", "videos", "audios", "chosen", "rejected", "kto_tag"),
    *("prompt", "query", "response", "history", "messages"),
)
# The kind of rows (`config.ROWS`) of the stage of ours that the datasets are loaded for, which reads rows of the host's formats
# with the same care; None for a stage of the host.
KIND_OF_ROWS: ContextVar[str | None] = ContextVar("KIND_OF_ROWS", default=None)
# Whether they are those of `eval_dataset`: what is drawn at random for training is not for evaluation.
FOR_EVALUATION: ContextVar[bool] = ContextVar("FOR_EVALUATION", default=False)
# The dataset that the host is loading, where its files are ours to read; `attach` asks for it in place of `load_dataset`.
LOADING: ContextVar["tuple[DatasetAttr, DataArguments, ModelArguments] | None"] = ContextVar("LOADING", default=None)


def is_ours(dataset_attr: "DatasetAttr", data_args: "DataArguments") -> bool:
    """Say whether the files of a dataset are read here: local rows of our formats, and of the host's for our stages."""
    ours = dataset_attr.formatting in format_names()
    if dataset_attr.load_from != "file" or not (
        ours or (KIND_OF_ROWS.get() and dataset_attr.formatting in HOST_FORMATS)
    ):
        return False
    return os.path.exists(_path(dataset_attr, data_args))  # the host says best what is missing


def check_files(dataset_attr: "DatasetAttr", data_args: "DataArguments") -> None:
    """Look at the names of the files of a dataset that is read here.

    Raises:
        RowsError: there is none, or one is of no kind that is read.
    """
    list_files(_path(dataset_attr, data_args))


def _path(dataset_attr: "DatasetAttr", data_args: "DataArguments") -> str:
    return os.path.join(str(data_args.dataset_dir), str(dataset_attr.dataset_name))


def load_rows(dataset_attr: "DatasetAttr", data_args: "DataArguments", model_args: "ModelArguments") -> Dataset:
    """Return the rows of a dataset, in place of `datasets.load_dataset`; its `Table` is kept as `dataset_attr.hind_table`.

    Raises:
        RowsError: a file is damaged, so that its other rows are not known.
        ValueError: `split` names another part than `train`, the only one that local files have.
    """
    table = read_table(
        _path(dataset_attr, data_args),
        strict=strict_columns(dataset_attr),
        cache_dir=model_args.cache_dir,
        overwrite=data_args.overwrite_cache,
    )
    if table.unreadable and data_args.streaming and dataset_attr.formatting not in format_names():
        raise RowsError(table.unreadable)  # else `align` tells of them, with all else that is wrong with rows
    dataset_attr.hind_table = table
    dataset = Dataset.from_file(table.path)
    name = dataset_attr.split.split("[")[0]
    if name != "train":
        raise ValueError(
            f"split: got {dataset_attr.split!r}, expected `train` or a part of it, such as `train[:100]`."
        )
    if "[" in dataset_attr.split:
        (part,) = ReadInstruction.from_spec(dataset_attr.split).to_absolute({name: len(dataset)})
        dataset = dataset.select(range(part.from_ or 0, len(dataset) if part.to is None else part.to))
    return dataset


def strict_columns(dataset_attr: "DatasetAttr") -> frozenset[str]:
    """Return the columns of a dataset whose values must have one type over all rows.

    Of our formats these are the media. Every other field is checked row by row by the format itself, which may take a text here and
    a list there. The host's formats check nothing: what they read must have one type.
    """
    if dataset_attr.formatting not in format_names():
        return frozenset(name for field in HOST_COLUMNS if (name := getattr(dataset_attr, field, None)))
    rows = get_rows(dataset_attr.formatting)
    options = rows.read_options(dataset_attr.hind_info, name=dataset_attr.dataset_name)
    return frozenset(options.column(field) for field in MEDIA_FIELDS)


def read_table(path: str, *, strict: Collection[str], cache_dir: str | None, overwrite: bool) -> Table:
    """Return the table of a file or folder, from the cache where the files are the same.

    Args:
        path: of the rows.
        strict: columns that must have one type; others may be mixed and are then kept as JSON text.
        cache_dir: of `datasets`; None is its own.
        overwrite: read the files again.
    """
    stats = [(file, os.stat(file).st_size, os.stat(file).st_mtime_ns) for file in list_files(path)]
    content = json.dumps([__version__, sorted(strict), stats])
    folder = Path(cache_dir or datasets.config.HF_DATASETS_CACHE) / "llamafactory_hind"
    file = folder / f"{hashlib.sha256(content.encode()).hexdigest()[:32]}.arrow"
    places = file.with_suffix(".npz")
    if not overwrite and file.is_file():
        with suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return _load_places(file, places)
    folder.mkdir(parents=True, exist_ok=True)
    unreadable: list[RowProblem] = []
    rows = to_arrow(path, file, strict=strict, on_bad=unreadable.append)
    table = Table(str(file), rows.files, rows.file_indices, rows.numbers, rows.json_columns, tuple(unreadable))
    _save_places(table, places)
    return table


def _save_places(table: Table, path: Path) -> None:
    told = {
        "files": table.files,
        "json_columns": table.json_columns,
        "unreadable": [dataclasses.asdict(problem) for problem in table.unreadable],
    }
    content: dict[str, Any] = {
        "file_indices": table.file_indices,
        "numbers": table.numbers,
        "told": np.array(json.dumps(told)),
    }
    write_by(path, lambda file: np.savez(file, **content))


def _load_places(file: Path, path: Path) -> Table:
    with np.load(path, allow_pickle=False) as kept:
        told = json.loads(str(kept["told"]))
        unreadable = tuple(RowProblem(**{**entry, "place": Place(**entry["place"])}) for entry in told["unreadable"])
        return Table(
            str(file),
            tuple(told["files"]),
            kept["file_indices"],
            kept["numbers"],
            tuple(told["json_columns"]),
            unreadable,
        )


def json_columns(dataset_attr: Any) -> tuple[str, ...]:
    """Return the columns of a loaded dataset that hold JSON text."""
    table = getattr(dataset_attr, "hind_table", None)
    return table.json_columns if table else ()
