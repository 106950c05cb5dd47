"""Numbers over many completions: one row through training, prompts by the variance of their rewards, two runs on the same row."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .index import Rows
from .query import Query, group_statistics, matching, reward_of


@dataclass(frozen=True)
class Prompt:
    """One row of a dataset over all the steps in which it was met.

    Attributes:
        row_id: of the row.
        count: completions with a reward.
        mean: of their rewards; likewise `deviation`, of the population.
        latest: one of its completions, of the last step.
        last_step: of that completion.
    """

    row_id: str
    count: int
    mean: float
    deviation: float
    latest: int
    last_step: int


def prompts(rows: Rows, query: Query, found: np.ndarray | None = None) -> list[Prompt]:
    """Return the rows that a query picks, those whose rewards differ most first; NaN last."""
    picked = np.sort(matching(rows, query, found))
    if not len(picked):
        return []
    ids = pc.fill_null(rows.texts("row_id").take(pa.array(picked)), "").combine_chunks().dictionary_encode()
    keys = ids.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    names = ids.dictionary.to_pylist()
    count, mean, deviation = group_statistics(keys, reward_of(rows, query)[picked])
    first = np.full(len(names), -1)
    first[keys[::-1]] = picked[::-1]  # newest first: the first of each is its latest
    steps = rows.numbers("step")
    made = [
        Prompt(
            str(name),
            int(count[key]),
            float(mean[key]),
            float(deviation[key]),
            int(first[key]),
            int(steps[first[key]]),
        )
        for key, name in enumerate(names)
    ]
    rank = np.argsort(-np.nan_to_num(deviation, nan=-1.0), kind="stable")
    return [made[place] for place in rank]


@dataclass(frozen=True)
class Moment:
    """A row at one step: its group, and what came of it; NaN where no reward applies."""

    step: int
    split: str
    card: int
    count: int
    mean: float
    deviation: float


def history(rows: Rows, row_id: str, query: Query) -> list[Moment]:
    """Return every group of a row, oldest first; the filters of the query count, its step and row do not."""
    plain = Query(split=query.split, source=query.source, show=query.show, reward=query.reward, row=row_id)
    picked = np.sort(matching(rows, plain))
    if not len(picked):
        return []
    cards, start = np.unique(rows.card[picked], return_index=True)
    keys = np.searchsorted(cards, rows.card[picked])
    count, mean, deviation = group_statistics(keys, reward_of(rows, query)[picked])
    steps, splits = rows.numbers("step"), rows.texts("split")
    made = [
        Moment(
            int(steps[picked[first]]),
            str(splits[int(picked[first])].as_py()),
            int(card),
            int(count[place]),
            float(mean[place]),
            float(deviation[place]),
        )
        for place, (card, first) in enumerate(zip(cards, start, strict=True))
    ]
    return sorted(made, key=lambda moment: (moment.step, moment.card))


@dataclass(frozen=True)
class Pair:
    """A row that two runs have both met; `gap` is the mean reward of the second minus that of the first."""

    row_id: str
    first: Prompt
    second: Prompt

    @property
    def gap(self) -> float:
        """How much better the second run is on this row, NaN where one of them has no reward."""
        return self.second.mean - self.first.mean


def compare(first: Rows, second: Rows, query: Query) -> list[Pair]:
    """Return the rows that both runs have met, the largest difference of mean rewards first, NaN last."""
    plain = Query(split=query.split, source=query.source, show=query.show, reward=query.reward, row=query.row)
    ours = {prompt.row_id: prompt for prompt in prompts(first, plain)}
    theirs = {prompt.row_id: prompt for prompt in prompts(second, plain)}
    pairs = [Pair(row_id, ours[row_id], theirs[row_id]) for row_id in ours if row_id in theirs]
    return sorted(pairs, key=lambda pair: -abs(pair.gap) if pair.gap == pair.gap else 1.0)
