"""Rows of `hindsight` and `rollout` datasets as references: what `dataset_info.json` says of them, read without the host."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.problem import ConfigError, Problem
from ..config.types import nearest
from ..formats.fields import is_missing, read_fields
from ..formats.hindsight.options import HindsightOptions, read_options
from ..formats.hindsight.rows import responses_of
from ..formats.rollout.rows import find_rollout_problems, read_rollout_options, turns_of
from .predictions import read_objects


@dataclass(frozen=True)
class Reference:
    """One row of a dataset.

    Attributes:
        id: its own, else `file:number`, as the pipelines name it.
        place: file and row, for errors; rows are counted from 1.
        fields: the row under our names.
        options: what `dataset_info.json` says of its dataset.
    """

    id: str
    place: str
    fields: Mapping[str, Any]
    options: HindsightOptions

    def response(self) -> str | None:
        """Return the assistant turn that the host's run saw as its label; None if the row has none."""
        if self.options.ranking or is_missing(self.fields.get(self.options.target)):
            return None
        return responses_of(self.fields, self.options.target, self.options)[0]


def read_references(datasets: Sequence[str], *, dataset_dir: str, max_samples: int | None) -> list[Reference]:
    """Read the rows of `datasets`, in order.

    Raises:
        ConfigError: `dataset_info.json` or a dataset is missing, unreadable or of another format; all of them at once.
    """
    folder = Path(dataset_dir)
    try:
        info = json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        expected = "a folder with a readable dataset_info.json"
        raise ConfigError([Problem("dataset_dir", dataset_dir, expected, f"{error}.")]) from None
    problems: list[Problem] = []
    references: list[Reference] = []
    for name in datasets:
        try:
            references += _read_dataset(name, info, folder)[:max_samples]
        except _Refused as refused:
            problems.append(refused.problem)
    if problems:
        raise ConfigError(problems)
    return references


class _Refused(Exception):
    def __init__(self, name: str, expected: str, remedy: str) -> None:
        self.problem = Problem("dataset", name, expected, remedy)


def _read_dataset(name: str, info: Mapping[str, Any], folder: Path) -> list[Reference]:
    if name not in info:
        near = nearest(name, info)
        raise _Refused(
            name, "one of " + ", ".join(sorted(info)), f"The nearest is `{near}`." if near else "Choose one."
        )
    entry = info[name]
    if entry.get("formatting") not in READERS or "file_name" not in entry:
        expected = "a dataset with `formatting: hindsight` or `rollout` and a `file_name`"
        raise _Refused(name, expected, "References are read from local files of that format.")
    path = folder / entry["file_name"]
    try:
        read, options = READERS[entry["formatting"]](entry, name)
        rows = read_objects(path)
    except (OSError, ValueError) as error:
        raise _Refused(name, "a readable .json or .jsonl file and a valid entry", f"{path}: {error}") from None
    references = []
    for number, row in enumerate(rows, start=1):
        fields = read(row) if isinstance(row, dict) else {}
        if not isinstance(fields.get("question"), str):
            remedy = f"{path}, row {number}, field `question`: got {fields.get('question')!r}; mend the row."
            raise _Refused(name, "rows that are objects with a `question` (`rollout`: a usable prompt)", remedy)
        references.append(
            Reference(str(fields.get("id", f"{path.name}:{number}")), f"{path}, row {number}", fields, options)
        )
    return references


def _hindsight(entry: Mapping[str, Any], name: str) -> tuple[Callable[[Any], dict[str, Any]], HindsightOptions]:
    options = read_options(entry, name=name)
    return lambda row: read_fields(row, options), options


def _rollout(entry: Mapping[str, Any], name: str) -> tuple[Callable[[Any], dict[str, Any]], HindsightOptions]:
    """Return how to read a `rollout` row: its question is the last turn, and the host's run saw `answer` as its label."""
    options = read_rollout_options(entry, name=name)
    ours = {column: field for field, column in options.columns}

    def read(row: Mapping[str, Any]) -> dict[str, Any]:
        fields = {ours.get(column, column): value for column, value in row.items()}
        if isinstance(fields.get("answer"), int | float) and not isinstance(fields["answer"], bool):
            fields["answer"] = str(fields["answer"])
        usable = not any(problem.field.startswith(("prompt", "messages")) for problem in find_rollout_problems(fields))
        return fields | {"question": turns_of(fields)[1][-1]["content"] if usable else None}

    return read, HindsightOptions(target="answer")


READERS = {"hindsight": _hindsight, "rollout": _rollout}
