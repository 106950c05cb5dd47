"""Rows of `hindsight` or `rollout` datasets, read from `dataset_info.json` and its files, with what is wrong with each."""

import itertools
import logging
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ...config.problem import ConfigError
from ...formats.datasets import Dataset, DatasetRow, open_datasets
from ...formats.fields import as_list, is_missing
from ...formats.media.check import MediaCheck
from ...formats.media.fields import MEDIA_FIELDS
from ...formats.media.verdicts import VerdictStore
from ...formats.media.view import MediaView
from ...storage.rows import RowProblem
from .tracking import track


logger = logging.getLogger("llamafactory.hind.pipelines.runner.rows")
ROWS_AT_ONCE = 256  # [ours] rows whose media are looked at together
HINDSIGHT, ROLLOUT, REGION, VIDEO_REASONING = "hindsight", "rollout", "region", "video_reasoning"


@dataclass(frozen=True)
class Row:
    """One question.

    Attributes:
        id: its own, else `file:number`.
        file: where it is; `number` counts from 1.
        fields: the row under our names, paths of media as they were written.
        media: kind -> paths that can be opened.
    """

    id: str
    file: str
    number: int
    fields: dict[str, Any]
    media: dict[str, list[Any]]

    @property
    def place(self) -> str:
        """File, number and id, for messages."""
        return f"{self.file}, row {self.number} ({self.id})"


@dataclass(frozen=True)
class Failure:
    """A row that gave nothing, and why.

    Attributes:
        work_key: of the work item that failed; empty where the row itself is bad.
    """

    id: str
    file: str
    number: int
    reason: str
    fields: dict[str, Any]
    work_key: str = ""


def read_rows(
    datasets: Sequence[str],
    *,
    dataset_dir: str,
    media_dir: str | None,
    max_samples: int | None,
    shard: tuple[int, int] | None = None,
    needs_answer: bool = True,
    needs_question: bool = True,
    checks_itself: Collection[str] = (),
    formatting: str | Sequence[str] = HINDSIGHT,
    view: MediaView | None = None,
) -> tuple[list[Row], list[Failure]]:
    """Read and check the rows of `datasets`, in order; bad ones are failures.

    Args:
        datasets: names in `dataset_info.json`.
        dataset_dir: where that file lies.
        media_dir: where media lie; None is `dataset_dir`.
        max_samples: rows of each dataset; None is all.
        shard: (i, n) takes rows i, i+n, i+2n … of all, bad ones counted; the others are not even checked.
        needs_answer: a row without a gold answer is bad.
        needs_question: likewise.
        checks_itself: fields whose problems the pipeline finds.
        formatting: name of the format that is read, or names.
        view: how the run sees media; what earlier runs found out about a file is not asked again. None is the host's defaults.

    Raises:
        ConfigError: `dataset_info.json` or a file is missing or unreadable, or a dataset is of another format.
    """
    opened, problems = open_datasets(
        datasets, dataset_dir=dataset_dir, formats=[formatting] if isinstance(formatting, str) else formatting
    )
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
    view = view or MediaView()
    check = MediaCheck(workers=None, view=view, store=VerdictStore(None, view))
    for dataset, row in _with_media(
        track(stored[own - 1 :: shards], "checking rows"), media_dir or dataset_dir, check
    ):
        if isinstance(row, RowProblem):
            failures.append(_unreadable(row))
            continue
        reasons = list(
            _reasons(
                row, dataset, check, needs_answer=needs_answer, needs_question=needs_question, known=checks_itself
            )
        )
        if reasons:
            failures.append(Failure(row.id, row.file, row.number, "; ".join(reasons), row.fields))
        else:
            rows.append(row)
    if (told := check.told_differences()) is not None:
        logger.warning("Media: %s", told)
    return rows, failures


def _with_media(
    stored: Iterable[tuple[Dataset, DatasetRow | RowProblem]], media_dir: str, check: MediaCheck
) -> Iterator[tuple[Dataset, Row | RowProblem]]:
    """Yield the rows, the media of many of them looked at together in threads."""
    entries = iter(stored)
    while some := list(itertools.islice(entries, ROWS_AT_ONCE)):
        made = [
            (dataset, entry if isinstance(entry, RowProblem) else _row_of(dataset, entry, media_dir))
            for dataset, entry in some
        ]
        rows = [row for _, row in made if isinstance(row, Row)]
        check.open_all(file for row in rows for file in _files(row))
        yield from made


def _files(row: Row) -> Iterator[tuple[str, str]]:
    for kind, items in row.media.items():
        for item in items:
            frames, own = (item, "images") if isinstance(item, list) else ([item], kind)
            yield from ((own, frame) for frame in frames if isinstance(frame, str) and frame)


def _unreadable(problem: RowProblem) -> Failure:
    file, number = problem.place.file, problem.place.row or 0
    return Failure(f"{Path(file).name}:{number}", file, number, str(problem), {})


def _row_of(dataset: Dataset, stored: DatasetRow, media_dir: str) -> Row:
    return _make_row(dataset.fields(stored), stored, media_dir, dataset.format)


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


def _reasons(
    row: Row, dataset: Dataset, check: MediaCheck, *, needs_answer: bool, needs_question: bool, known: Collection[str]
) -> Iterator[str]:
    without_question = all(is_missing(row.fields.get(name)) for name in ("question", "messages"))
    for wrong in dataset.format.question_problems(row.fields):
        if not needs_answer and wrong.field == "answer" and is_missing(row.fields.get("answer")):
            continue
        if not needs_question and wrong.field.startswith("question") and without_question:
            continue
        if wrong.field not in known:
            yield str(wrong)
    for kind in MEDIA_FIELDS:
        for index, item in enumerate(row.media[kind]):
            if problem := check.find_problem(f"{kind}[{index}]", kind, item):
                yield str(problem)
