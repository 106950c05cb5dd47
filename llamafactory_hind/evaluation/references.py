"""Rows of `hindsight` and `rollout` datasets as references: what `dataset_info.json` says of them, read without the host."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ..config.problem import ConfigError, Problem, show
from ..formats.datasets import Dataset, open_datasets
from ..formats.options import RowOptions
from ..storage.rows import RowProblem


@dataclass(frozen=True)
class Reference:
    """One row of a dataset.

    Attributes:
        id: its own, else `file:number`, as the pipelines name it.
        place: file and row, for errors; rows are counted from 1.
        fields: the row under our names.
        options: what `dataset_info.json` says of its dataset.
        format: what is pure of its format, see `formats.get_rows`.
    """

    id: str
    place: str
    fields: Mapping[str, Any]
    options: RowOptions
    format: ModuleType

    def response(self) -> str | None:
        """Return the assistant turn that the host's run saw as its label; None if the row has none."""
        response: str | None = self.format.response_of(self.fields, self.options)
        return response


def read_references(datasets: Sequence[str], *, dataset_dir: str, max_samples: int | None) -> list[Reference]:
    """Read the rows of `datasets`, in order.

    Raises:
        ConfigError: `dataset_info.json` or a dataset is missing, unreadable or of another format; all of them at once.
    """
    references: list[Reference] = []
    opened, problems = open_datasets(datasets, dataset_dir=dataset_dir)
    for dataset in opened:
        try:
            references += _read(dataset, max_samples)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return references


def _read(dataset: Dataset, max_samples: int | None) -> list[Reference]:
    references: list[Reference] = []
    problems: list[Problem] = []
    for row in dataset.rows(max_samples):
        if isinstance(row, RowProblem):
            problems.append(Problem("dataset", dataset.name, "rows that can be read", f"{row}"))
            continue
        fields = dataset.fields(row)
        question = dataset.format.question_of(fields)
        if question is None:
            expected = "rows that are objects with a `question` (`rollout`: a usable prompt)"
            remedy = f"{row.place}, field `question`: got {show(fields.get('question'))}; correct the row."
            problems.append(Problem("dataset", dataset.name, expected, remedy))
            continue
        row_id = str(fields.get("id", f"{Path(row.file).name}:{row.number}"))
        answer = {"answer": dataset.format.response_of(fields, dataset.options)} if _is_number(fields) else {}
        own = getattr(dataset.format, "reference_fields", None)  # where a format shows its rows in another form
        fields |= {"question": question} | answer | (own(fields) if own else {})
        references.append(Reference(row_id, row.place, fields, dataset.options, dataset.format))
    if problems:
        raise ConfigError(problems)
    return references


def _is_number(fields: Mapping[str, Any]) -> bool:
    """Say whether the gold answer is a number that is no index of a choice."""
    answer = fields.get("answer")
    return isinstance(answer, int | float) and not isinstance(answer, bool) and not fields.get("choices")
