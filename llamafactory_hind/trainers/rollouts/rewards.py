"""Between rollouts and rewards: texts and columns out, tensors in. What a reward is stays the stage's business."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from llamafactory.extras import logging

from ...formats.fields import columns_of
from .records import Rollout, Scores, padded


logger = logging.get_logger("llamafactory.hind.trainers.rollouts.rewards")
TOLD_ROWS = 2000  # [ours] rows whose gold texts are looked at before training


class Scored(Protocol):
    """What rewards return: of every completion, None where a reward does not apply."""

    each: dict[str, list[float | None]]
    total: list[float | None]
    extra: dict[str, list[Any]]


Score = Callable[[Sequence[str], Mapping[str, Sequence[Any]]], Scored]


def score_rollouts(score: Score, rollouts: list[Rollout]) -> Scores:
    """Score the completions of groups, which may differ in size.

    Args:
        score: completions, columns (a value for each completion) -> rewards.
        rollouts: N groups; rewards see all columns of their rows, `row_id`, `prompts` (the text of the user's last turn)
            and `completion_ids`.
    """
    texts = [text for rollout in rollouts for text in rollout.texts]
    rows = [row_columns(rollout.feature) for rollout in rollouts for _ in rollout.texts]
    names = dict.fromkeys(name for row in rows for name in row)
    columns: dict[str, list[Any]] = {name: [row.get(name) for row in rows] for name in names}
    columns["completion_ids"] = [list(ids) for rollout in rollouts for ids in rollout.completion_ids]
    scored = score(texts, columns)
    sizes = [len(rollout.texts) for rollout in rollouts]
    return Scores(
        total=_table(scored.total, sizes),
        each={name: _table(values, sizes) for name, values in scored.each.items()},
        extra={name: _groups(values, sizes) for name, values in scored.extra.items()},
    )


def check_rewards(check: Callable[[Mapping[str, Any], str], Any], dataset_module: Mapping[str, Any]) -> None:
    """Try every reward on the first real row of each dataset, before the model is loaded."""
    datasets = []
    for dataset in dataset_module.values():
        datasets += list(dataset.values()) if isinstance(dataset, dict) else [dataset]
    for dataset in datasets:
        if dataset is None or not len(dataset):
            continue
        row = dataset[0]
        columns = {**row_columns(row), "completion_ids": [0]}
        check(columns, str(columns.get("answer") or ""))


def tell_golds(describe: Callable[[Iterable[Mapping[str, Any]]], str | None], dataset: Any) -> None:
    """Log once how the gold texts of the first rows are read: a misread one would reward wrong answers in silence."""
    told = describe(columns_of(dataset[place]) for place in range(min(len(dataset), TOLD_ROWS)))
    if told is not None:
        logger.info_rank0(told)


def row_columns(feature: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as rewards see it; none of its own columns has one of these names (`formats.processors.prompts.RESERVED`)."""
    return {**columns_of(feature), "row_id": str(feature["row_id"]), "prompts": _question(feature)}


def _question(feature: Mapping[str, Any]) -> str | None:
    """Return the text of the user's last turn, None where the row keeps no turns."""
    turns = json.loads(feature["conversation"])["turns"] if feature.get("conversation") else []
    return next((str(turn["content"]) for turn in reversed(turns) if turn["role"] == "user"), None)


def _table(values: Sequence[float | None], sizes: Sequence[int]) -> torch.Tensor:
    """Return (N, G) float64, NaN for None."""
    numbers = [float("nan") if value is None else float(value) for value in values]
    return padded(_groups(numbers, sizes), dtype=torch.float64)


def _groups(values: Sequence[Any], sizes: Sequence[int]) -> list[list[Any]]:
    """Cut a list into groups of the given sizes."""
    rest = iter(values)
    return [[next(rest) for _ in range(size)] for size in sizes]
