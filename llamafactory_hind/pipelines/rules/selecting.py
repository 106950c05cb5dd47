"""External actions that rewards think well of, as rows for `stage: sft`: the baseline of external-action GRPO."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...config.problem import ConfigError, Problem
from ...formats.texts.layout import is_cut, wrap
from ...rewards import load_rewards


ACTION = "action"  # column of the selected text


def reward_problem(names: Sequence[str]) -> Problem | None:
    """Return what is wrong with names of rewards, None where all can be loaded."""
    try:
        load_rewards(names, None, timeout=1.0)
    except ValueError as error:
        return Problem("reward_funcs", ",".join(names), "rewards that can be loaded", str(error))
    return None


def reward_actions(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], *, timeout: float
) -> list[list[float | None]]:
    """Return the sum of the rewards of each action of each row, in the layout that training wraps it into.

    Raises:
        ConfigError: a reward fails, takes too long or returns no rewards.
    """
    owners = [number for number, row in enumerate(rows) for _ in row["external"]]
    texts = [wrap(entry["text"]) for row in rows for entry in row["external"]]
    columns = dict.fromkeys(name for row in rows for name in row)
    try:
        rewards = load_rewards(names, None, timeout=timeout)
        totals = rewards.score(texts, {name: [rows[owner].get(name) for owner in owners] for name in columns}).total
    except ValueError as error:
        raise ConfigError([Problem("reward_funcs", ",".join(names), "rewards of these rows", str(error))]) from error
    rest = iter(totals)
    return [[next(rest) for _ in row["external"]] for row in rows]


def select_actions(
    rows: Sequence[Mapping[str, Any]], totals: Sequence[Sequence[float | None]], *, least: float
) -> list[dict[str, Any]]:
    """Return a row for each different action, wrapped, whose reward is `least` or more; what was cut is left out."""
    selected = []
    for row, rewards in zip(rows, totals, strict=True):
        good = [
            (wrap(entry["text"]), entry["source"])
            for entry, reward in zip(row["external"], rewards, strict=True)
            if reward is not None and reward >= least and not is_cut(entry["text"])
        ]
        texts = dict(reversed(good))  # of equal texts, the first one's source
        for number, text in enumerate(dict.fromkeys(text for text, _ in good)):
            fields = {name: value for name, value in row.items() if name != "external"}
            selected.append(fields | {"id": f"{row['id']}#{number}", ACTION: text, "action_source": texts[text]})
    return selected
