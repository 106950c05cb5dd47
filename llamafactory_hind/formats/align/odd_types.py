"""A file that `datasets` cannot read as a table, explained: which row holds another type than the rows around it.

`datasets` gives every column one type. A number among texts ends in an Arrow error that names neither file nor row.
"""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from datasets.exceptions import DatasetGenerationError

from ...config.problem import RowProblem, show
from .. import format_names
from ..problems import BadRow, BadRowsError
from .locating import RowLocator


if TYPE_CHECKING:
    from llamafactory.data.parser import DatasetAttr
    from llamafactory.hparams import DataArguments


JSON_TYPES = {str: "text", bool: "true or false", int: "a number", float: "a number", dict: "an object"}


def load_single_dataset(
    host_load: Callable[..., Any],
    dataset_attr: "DatasetAttr",
    model_args: Any,
    data_args: "DataArguments",
    training_args: Any,
) -> Any:
    """Call the host's `_load_single_dataset`; for our formats, name the rows that made it fail.

    Raises:
        BadRowsError: rows of a JSON file differ in the type of a field.
    """
    try:
        return host_load(dataset_attr, model_args, data_args, training_args)
    except DatasetGenerationError as error:
        if dataset_attr.formatting not in format_names() or dataset_attr.load_from != "file":
            raise
        locator = RowLocator(dataset_attr, data_args)
        rows = find_odd_types(locator.files())
        if not rows:
            raise
        raise BadRowsError(rows, dataset=locator.name, checked=None, side_file=None) from error


def find_odd_types(files: list[str]) -> list[BadRow]:
    """Return the rows in which a field has another JSON type than in most rows, over all files of a dataset."""
    kinds: dict[str, dict[str, list[tuple[str, int, Any]]]] = defaultdict(lambda: defaultdict(list))
    for file in files:
        for number, row in enumerate(_read_rows(file), start=1):
            for field, value in row.items() if isinstance(row, dict) else [("row", row)]:
                kind = _kind(value)
                if kind is not None:
                    kinds[field][kind].append((file, number, row))
    problems = defaultdict(list)
    for field, places in kinds.items():
        usual = Counter({kind: len(rows) for kind, rows in places.items()}).most_common(1)[0][0]
        for kind, rows in places.items():
            for file, number, row in rows if kind != usual else ():
                value = row[field] if isinstance(row, dict) else row
                problem = RowProblem(
                    field, show(value), f"{usual}, as in the other rows", "write it the same way everywhere"
                )
                problems[file, number].append((problem, row))
    return [
        BadRow(
            file, number, tuple(problem for problem, _ in found), found[0][1] if isinstance(found[0][1], dict) else {}
        )
        for (file, number), found in sorted(problems.items())
    ]


def _read_rows(file: str) -> Iterator[Any]:
    if os.path.splitext(file)[-1] not in (".json", ".jsonl"):
        return
    with open(file, encoding="utf-8") as opened:
        text = opened.read()
    try:
        if text.lstrip().startswith("["):
            yield from json.loads(text)
        else:
            yield from (json.loads(line) for line in text.splitlines() if line.strip())
    except json.JSONDecodeError:
        return  # no types to compare: the error of `datasets` says where the syntax breaks


def _kind(value: Any) -> str | None:
    """Return a name for the JSON type; None for what fits every type."""
    if isinstance(value, list):
        inner = {kind for item in value if (kind := _kind(item)) is not None}
        return f"a list of {' and '.join(sorted(inner))}" if inner else None
    return None if value is None else JSON_TYPES[type(value)]
