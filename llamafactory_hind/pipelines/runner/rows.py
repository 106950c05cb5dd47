"""Rows of `hindsight` or `rollout` datasets, read from `dataset_info.json` and its files, with what is wrong with each."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...config.problem import ConfigError, Problem, RowProblem, show
from ...formats.fields import as_list, is_missing, read_fields
from ...formats.hindsight.options import HindsightOptions, read_options
from ...formats.hindsight.rows import find_problems
from ...formats.media.check import MediaCheck
from ...formats.media.fields import MEDIA_FIELDS
from ...formats.rollout.rows import RolloutOptions, find_rollout_problems, read_rollout_options
from .tracking import track


HINDSIGHT, ROLLOUT = "hindsight", "rollout"
Options = HindsightOptions | RolloutOptions


@dataclass(frozen=True)
class Row:
    """One question.

    Attributes:
        id: its own, else `file:number`.
        file: where it stands; `number` counts from 1.
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
    info_file = Path(dataset_dir) / "dataset_info.json"
    try:
        info = json.loads(info_file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            [Problem("dataset_dir", dataset_dir, "a folder with a readable dataset_info.json", str(error))]
        ) from None
    problems: list[Problem] = []
    read: list[tuple[str, Options, list[Any]]] = []
    for name in datasets:
        try:
            read.append(_read_dataset(name, info, dataset_dir, formatting))
        except _Refused as refused:
            problems.append(refused.problem)
    if problems:
        raise ConfigError(problems)
    rows: list[Row] = []
    failures: list[Failure] = []
    check = MediaCheck(workers=min(8, os.cpu_count() or 1))
    own, shards = shard or (1, 1)
    position = 0
    for file, options, contents in read:
        for number, content in enumerate(track(contents[:max_samples], f"checking {name}"), start=1):
            position += 1
            if (position - own) % shards:
                continue
            row = _make_row(content, options, file, number, media_dir or dataset_dir)
            reasons = list(_reasons(row, content, options, check, needs_answer=needs_answer))
            if reasons:
                failures.append(Failure(row.id, file, number, "; ".join(reasons), row.fields))
            else:
                rows.append(row)
    return rows, failures


class _Refused(Exception):
    def __init__(self, problem: Problem) -> None:
        self.problem = problem


def _read_dataset(
    name: str, info: dict[str, Any], dataset_dir: str, formatting: str
) -> tuple[str, Options, list[Any]]:
    if name not in info:
        raise _Refused(Problem("dataset", name, "one of " + ", ".join(sorted(info)), "Choose one."))
    entry = info[name]
    if entry.get("formatting") != formatting or "file_name" not in entry:
        expected = f"a dataset with `formatting: {formatting}` and a `file_name`"
        raise _Refused(Problem("dataset", name, expected, "Pipelines read local files of that format."))
    file = os.path.join(dataset_dir, entry["file_name"])
    try:
        text = Path(file).read_text(encoding="utf-8")
        if file.endswith(".jsonl"):
            contents = [json.loads(line) for line in text.split("\n") if line.strip()]
        else:
            contents = json.loads(text)
    except (OSError, ValueError) as error:
        raise _Refused(Problem("dataset", name, "a readable .json or .jsonl file", f"{file}: {error}")) from None
    if not isinstance(contents, list):
        raise _Refused(Problem("dataset", name, "a list of rows", f"{file} holds a {type(contents).__name__}."))
    try:
        return file, {HINDSIGHT: read_options, ROLLOUT: read_rollout_options}[formatting](entry, name=name), contents
    except ValueError as error:
        raise _Refused(Problem("dataset", name, "a valid entry", str(error))) from None


def _make_row(content: Any, options: Options, file: str, number: int, media_dir: str) -> Row:
    fields = read_fields(content, options) if isinstance(content, dict) else {}
    if is_missing(fields.get("answer")) and isinstance(fields.get("answers"), list) and fields["answers"]:
        fields["answer"] = Counter(map(str, fields["answers"])).most_common(1)[0][0]
    media = {kind: [_locate(item, media_dir) for item in as_list(fields.get(kind))] for kind in MEDIA_FIELDS}
    return Row(str(fields.get("id", f"{Path(file).name}:{number}")), file, number, fields, media)


def _locate(item: Any, media_dir: str) -> Any:
    """Return the path in `media_dir` if there is such a file, else the path as it is; the host does the same."""
    if isinstance(item, list):
        return [_locate(frame, media_dir) for frame in item]
    if isinstance(item, str) and os.path.isfile(os.path.join(media_dir, item)):
        return os.path.join(media_dir, item)
    return item


def _reasons(row: Row, content: Any, options: Options, check: MediaCheck, *, needs_answer: bool) -> Iterator[str]:
    if not isinstance(content, dict):
        yield f"got a {type(content).__name__}, expected an object with the fields of its format"
        return
    for wrong in _field_problems(row.fields, options):
        if needs_answer or wrong.field != "answer" or not is_missing(row.fields.get("answer")):
            yield str(wrong)
    for kind in MEDIA_FIELDS:
        for index, item in enumerate(row.media[kind]):
            if problem := check.find_problem(f"{kind}[{index}]", kind, item):
                yield str(problem)


def _field_problems(fields: dict[str, Any], options: Options) -> Iterator[RowProblem]:
    if isinstance(options, HindsightOptions):
        yield from find_problems(fields, HindsightOptions(target="answer"))
        return
    yield from find_rollout_problems(fields)
    if is_missing(fields.get("answer")):
        yield RowProblem("answer", show(None), "a gold answer", "write it")
