"""Rows of `hindsight` or `rollout` datasets, read from `dataset_info.json` and its files, with what is wrong with each."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ...config.problem import ConfigError
from ...formats.datasets import Dataset, DatasetRow, open_datasets
from ...formats.fields import as_list, is_missing
from ...formats.media.check import MediaCheck
from ...formats.media.fields import MEDIA_FIELDS
from ...storage.rows import RowProblem
from .row import HINDSIGHT, Failure, Row
from .tracking import track


def read_rows(
    datasets: Sequence[str],
    *,
    dataset_dir: str,
    media_dir: str | None,
    max_samples: int | None,
    shard: tuple[int, int] | None = None,
    needs_answer: bool = True,
    formatting: str = HINDSIGHT,
) -> tuple[list[Row], list[Failure]]:
    """Read and check the rows of `datasets`, in order; bad ones are failures.

    Args:
        datasets: names in `dataset_info.json`.
        dataset_dir: where that file lies.
        media_dir: where media lie; None is `dataset_dir`.
        max_samples: rows of each dataset; None is all.
        shard: (i, n) takes rows i, i+n, i+2n … of all, bad ones counted; the others are not even checked.
        needs_answer: a row without a gold answer is bad.
        formatting: `hindsight` or `rollout`.

    Raises:
        ConfigError: `dataset_info.json` or a file is missing or unreadable, or a dataset is not of that format.
    """
    opened, problems = open_datasets(datasets, dataset_dir=dataset_dir, formats=[formatting])
    stored: list[tuple[Dataset, DatasetRow | RowProblem]] = []
    for dataset in opened:
        try:
            stored += [(dataset, row) for row in dataset.rows(max_samples)]
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    own, shards = shard or (1, 1)
    rows: list[Row] = []
    failures: list[Failure] = []
    check = MediaCheck(workers=min(8, os.cpu_count() or 1))
    for dataset, entry in track(stored[own - 1 :: shards], "checking rows"):
        if isinstance(entry, RowProblem):
            failures.append(_unreadable(entry))
            continue
        row = _make_row(dataset.fields(entry), entry, media_dir or dataset_dir, dataset.format)
        reasons = list(_reasons(row, dataset, check, needs_answer=needs_answer))
        if reasons:
            failures.append(Failure(row.id, row.file, row.number, "; ".join(reasons), row.fields))
        else:
            rows.append(row)
    return rows, failures


def _unreadable(problem: RowProblem) -> Failure:
    file, number = problem.place.file, problem.place.row or 0
    return Failure(f"{Path(file).name}:{number}", file, number, str(problem), {})


def _make_row(fields: dict[str, Any], stored: DatasetRow, media_dir: str, dataset_format: ModuleType) -> Row:
    if is_missing(fields.get("answer")) and isinstance(fields.get("answers"), list) and fields["answers"]:
        fields["answer"] = Counter(map(str, fields["answers"])).most_common(1)[0][0]
    media = {kind: [_locate(item, media_dir) for item in as_list(fields.get(kind))] for kind in MEDIA_FIELDS}
    row_id = str(fields.get("id", f"{Path(stored.file).name}:{stored.number}"))
    open_media = getattr(dataset_format, "open_media", None)
    return Row(row_id, stored.file, stored.number, fields, open_media(fields, media) if open_media else media)


def _locate(item: Any, media_dir: str) -> Any:
    """Return the path in `media_dir` if there is such a file or folder, else the path as it is, as the host does with files."""
    if isinstance(item, list):
        return [_locate(frame, media_dir) for frame in item]
    if isinstance(item, str) and item and os.path.exists(os.path.join(media_dir, item)):
        return os.path.join(media_dir, item)
    return item


def _reasons(row: Row, dataset: Dataset, check: MediaCheck, *, needs_answer: bool) -> Iterator[str]:
    for wrong in dataset.format.question_problems(row.fields):
        if needs_answer or wrong.field != "answer" or not is_missing(row.fields.get("answer")):
            yield str(wrong)
    for kind in MEDIA_FIELDS:
        for index, item in enumerate(row.media[kind]):
            if problem := check.find_problem(f"{kind}[{index}]", kind, item):
                yield str(problem)
