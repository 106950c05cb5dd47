"""Which completions are looked at, and in which order."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .index import GATE, Rows


ALL = "all"
SHOWS = (ALL, "kept", "passed over")
GATES = (ALL, "open", "closed")
HINTS = (ALL, "with a hint", "without", "hints were tried")
ORDERS = (
    "newest",
    "oldest",
    "reward: highest",
    "reward: lowest",
    "advantage: highest",
    "spread of rewards",
    "longest",
)


@dataclass(frozen=True)
class Query:
    """What is picked; an untouched one picks everything, newest first.

    Attributes:
        split: `train`, or that of an evaluation.
        step: one step alone.
        source: who wrote it.
        show: one of `SHOWS`.
        gate: one of `GATES`.
        hint: one of `HINTS`.
        finish: why it ended.
        reward: name of the reward that `lowest` and `highest` bound, and by which orders go; `` is the total.
        lowest: least reward, None without a bound; a completion without the reward is then left out.
        highest: likewise.
        row: id of a row.
        text: that a completion or its prompt holds, as a literal, whatever its case; `search` finds it.
        order: one of `ORDERS`.
    """

    split: str = ALL
    step: int | None = None
    source: str = ALL
    show: str = ALL
    gate: str = ALL
    hint: str = ALL
    finish: str = ALL
    reward: str = ""
    lowest: float | None = None
    highest: float | None = None
    row: str = ""
    text: str = ""
    order: str = ORDERS[0]


def matching(rows: Rows, query: Query, found: np.ndarray | None = None) -> np.ndarray:
    """Return the numbers of the completions that a query picks, in its order.

    Args:
        rows: of a run.
        query: what is picked.
        found: which completions hold the text, (N,) bool; None where the query has none.
    """
    mask = np.ones(len(rows), bool) if found is None else found.copy()
    for name, value in (("split", query.split), ("source", query.source), ("finish_reason", query.finish)):
        if value != ALL:
            mask &= _equal(rows.texts(name), value)
    if query.row:
        mask &= _equal(rows.texts("row_id"), query.row)
    if query.step is not None:
        mask &= rows.numbers("step") == query.step
    if query.show != ALL:
        mask &= _equal(rows.texts("kept"), query.show == "kept")
    if query.gate != ALL:
        mask &= (rows.numbers(GATE) > 0) == (query.gate == "open")
        mask &= ~np.isnan(rows.numbers(GATE))
    if query.hint != ALL:
        column = "explored" if query.hint == HINTS[3] else "hinted"
        mask &= _equal(rows.texts(column), query.hint != HINTS[2])
    rewards = reward_of(rows, query)
    with np.errstate(invalid="ignore"):
        if query.lowest is not None:
            mask &= rewards >= query.lowest
        if query.highest is not None:
            mask &= rewards <= query.highest
    return _in_order(rows, np.flatnonzero(mask), query)


def reward_of(rows: Rows, query: Query) -> np.ndarray:
    """Return the reward that a query is about, NaN where there is none."""
    return rows.numbers(f"reward/{query.reward}" if query.reward else "reward")


def _equal(column: Any, value: Any) -> np.ndarray:
    return np.asarray(pc.fill_null(pc.equal(column, pa.scalar(value)), False).to_numpy(), dtype=bool)


def _in_order(rows: Rows, picked: np.ndarray, query: Query) -> np.ndarray:
    if query.order == "newest":
        return picked
    if query.order == "oldest":
        return picked[np.argsort(rows.numbers("step")[picked], kind="stable")]
    if query.order == "spread of rewards":
        values = spread(rows, reward_of(rows, query))[picked]
    else:
        name = {"advantage: highest": "advantage", "longest": "tokens"}.get(query.order)
        values = (rows.numbers(name) if name else reward_of(rows, query))[picked]
    rising = values if query.order == "reward: lowest" else -values
    return picked[np.argsort(rising, kind="stable")]  # NaN comes last, whichever way


def spread(rows: Rows, rewards: np.ndarray) -> np.ndarray:
    """Return the standard deviation of the rewards of each completion's group, NaN where it has fewer than two."""
    count, _, deviation = group_statistics(rows.card, rewards)
    return np.where(count > 1, deviation, math.nan)[rows.card] if len(rows) else np.zeros(0)


def group_statistics(keys: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return count, mean and standard deviation (of the population) of the values of each key, those that are NaN left out."""
    there = ~np.isnan(values)
    size = int(keys.max()) + 1 if len(keys) else 0
    count = np.bincount(keys[there], minlength=size)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(keys[there], values[there], minlength=size) / count
        off = values[there] - mean[keys[there]]
        deviation = np.sqrt(np.bincount(keys[there], off * off, minlength=size) / count)
    return count, mean, deviation


def cards(rows: Rows, picked: np.ndarray) -> np.ndarray:
    """Return the groups of completions, each once, in the order of their first."""
    found, first = np.unique(rows.card[picked], return_index=True)
    return np.asarray(found[np.argsort(first)])


def members(rows: Rows, card: int) -> np.ndarray:
    """Return the numbers of all completions of a group."""
    start, end = np.searchsorted(rows.card, [card, card + 1])
    return np.arange(start, end)
