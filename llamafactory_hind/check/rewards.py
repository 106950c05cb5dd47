"""Rewards on real rows: each is called, and the gold answer itself must earn what the best answer can."""

from collections.abc import Mapping
from typing import Any

from ..rewards import RewardError, load_rewards
from ..trainers.rollouts.rewards import row_columns
from .findings import Report


AT_ONCE = 64
LAYOUT = "<think>The answer is known.</think><answer>{}</answer>"
SHOWN = 3


def check_rewards(keys: Any, rows: Any, name: str, report: Report) -> None:
    """Call the rewards of a run on the gold answers of its rows.

    Args:
        keys: the finetuning arguments.
        rows: processed ones of a dataset.
        name: of the dataset.
        report: takes what is found.
    """
    try:
        rewards = load_rewards(keys.reward_funcs, keys.reward_weights, timeout=keys.reward_timeout)
    except RewardError as error:
        report.add("error", "rewards", "reward_funcs", str(error))
        return
    columns = [row_columns(row) | {"completion_ids": [0]} for row in rows]
    golds = [row for row in columns if row.get("answer") is not None or row.get("solution") is not None]
    try:
        rewards.check(columns[0], _gold(columns[0]))
        each = _scores(rewards, golds)
    except RewardError as error:
        report.add("error", "rewards", name, str(error))
        return
    if (told := rewards.describe_golds(golds)) is not None:
        report.add("note", "rewards", name, told)
    for reward, scores in each.items():
        _judge(reward, scores, golds, name, report)


def _scores(rewards: Any, rows: list[dict[str, Any]]) -> dict[str, list[float | None]]:
    found: dict[str, list[float | None]] = {reward: [] for reward in rewards.names}
    for start in range(0, len(rows), AT_ONCE):
        batch = rows[start : start + AT_ONCE]
        names = dict.fromkeys(name for row in batch for name in row)
        scored = rewards.score(
            [_gold(row) for row in batch], {name: [row.get(name) for row in batch] for name in names}
        )
        for reward, values in scored.each.items():
            found[reward] += values
    return found


def _judge(reward: str, scores: list[float | None], rows: list[dict[str, Any]], name: str, report: Report) -> None:
    applying = [(score, row) for score, row in zip(scores, rows, strict=True) if score is not None]
    place = f"{name}, {reward}"
    if not applying:
        report.add("warning", "rewards", place, "it applies to no row of this dataset.")
        return
    best = max(1.0, *(score for score, _ in applying)) if len(applying) > 1 else max(1.0, applying[0][0])
    less = [row for score, row in applying if score < best]
    if not less:
        report.add("note", "rewards", place, f"the gold answer earns {best:g} in all {len(applying)} rows.")
        return
    examples = ", ".join(f"{row['row_id']} ({str(row.get('answer'))[:40]})" for row in less[:SHOWN])
    share = len(less) / len(applying)
    message = f"the gold answer itself earns less than {best:g} in {len(less)} of {len(applying)} rows ({share:.1%})"
    report.add("warning", "rewards", place, f"{message}: {examples}. A right answer cannot be learnt there.")


def _gold(row: Mapping[str, Any]) -> str:
    gold = row.get("answer")
    gold = row.get("solution") if gold is None else gold
    text = str(gold[0] if isinstance(gold, list) and gold else gold)
    return text if "<answer>" in text else LAYOUT.format(text)
