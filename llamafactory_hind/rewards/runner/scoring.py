"""Several rewards over completions of real rows: loaded together, checked together, summed by weight."""

import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...config.problem import first_of, shorten
from ..columns import GOLD, finite_number
from ..errors import RewardError
from ..gold import describe_golds
from .calling import Call, Reply, ReplyError, Reward
from .limits import Loop, OutOfTime
from .loading import find_function, name_functions


READ_GOLDS = {"accuracy", "math", "numeric_tolerance"}  # rewards that compare by the kind of the gold text
ROW_IDS = ("row_id", "id")  # columns by which an error names a row


@dataclass(frozen=True)
class Scored:
    """The rewards of completions.

    Attributes:
        each: name of a reward -> its score of every completion, None where it does not apply.
        total: weighted sum of those that apply; None where none does.
        extra: `reward/column` -> values, what a reward returned beside its scores for the log.
    """

    each: dict[str, list[float | None]]
    total: list[float | None]
    extra: dict[str, list[Any]]


class Rewards:
    """The rewards of a run, called together; build it with `load_rewards`.

    Attributes:
        names: of the rewards, in the order given.
        weights: of each.
    """

    def __init__(self, rewards: Sequence[Reward], weights: Sequence[float]) -> None:
        """Keep rewards and their weights."""
        self.names = [reward.name for reward in rewards]
        self.weights = [float(weight) for weight in weights]
        self._rewards = list(rewards)
        self._loop = Loop()
        self._seen: dict[str, None] = {}

    def check(self, row_columns: Mapping[str, Any], completion: str) -> Scored:
        """Call every reward on a real row, twice in one batch, so that a wrong length shows.

        Raises:
            RewardError: with everything that is wrong with any of them.
        """
        columns = {name: [value, value] for name, value in row_columns.items()}
        return self._score([completion, completion], columns, "Rewards were tested on a row of the data.")

    def describe_golds(self, rows: Iterable[Mapping[str, Any]]) -> str | None:
        """Say in one line how the gold texts of rows are read; None where no reward of the run reads them.

        Args:
            rows: columns of rows.
        """
        if not READ_GOLDS & set(self.names):
            return None
        texts = [str(row[name]) for row in rows for name in GOLD if row.get(name) is not None]
        kinds = [
            f"{count} {kind} ({', '.join(map(shorten, examples))})" for kind, count, examples in describe_golds(texts)
        ]
        return f"Gold texts are read as: {'; '.join(kinds)}." if kinds else None

    def score(self, completions: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> Scored:
        """Score completions; those of coroutine functions are awaited while the others run.

        Args:
            completions: texts.
            columns: of their rows, a value for each completion; `prompts` among them if there are any.

        Raises:
            RewardError: a reward failed, took too long or returned no rewards; names it, the row and the completion.
        """
        return self._score(completions, columns, "Rewards could not be computed.")

    def _score(self, completions: Sequence[str], columns: Mapping[str, Sequence[Any]], title: str) -> Scored:
        count = len(completions)
        problems = [
            f"completion {index}: got {shorten(text)}, expected text"
            for index, text in enumerate(completions)
            if not isinstance(text, str)
        ] + [
            f"column `{name}`: got {len(values)} values for {count} completions"
            for name, values in columns.items()
            if len(values) != count
        ]
        if problems:
            raise RewardError(title, problems)
        if not count:
            return Scored({name: [] for name in self.names}, [], {})
        self._seen |= dict.fromkeys(columns)  # rows of another dataset may be without a column that earlier rows had
        columns = {name: columns.get(name, [None] * count) for name in self._seen}
        batch = _Batch(completions, columns, self._loop)
        replies = batch.call(self._rewards)
        if batch.problems:
            raise RewardError(title, batch.problems) from batch.cause
        each = {name: reply.scores for name, reply in zip(self.names, replies, strict=True)}
        extra = {
            f"{name}/{column}": values
            for name, reply in zip(self.names, replies, strict=True)
            for column, values in reply.extra.items()
        }
        return Scored(each, [self._total([scores[row] for scores in each.values()]) for row in range(count)], extra)

    def _total(self, scores: Sequence[float | None]) -> float | None:
        applying = [weight * score for weight, score in zip(self.weights, scores, strict=True) if score is not None]
        return math.fsum(applying) if applying else None


class _Batch:
    """Completions with their columns on the way through all rewards; collects what goes wrong."""

    def __init__(self, completions: Sequence[str], columns: Mapping[str, Sequence[Any]], loop: Loop) -> None:
        self.completions = completions
        self.columns = columns
        self.loop = loop
        self.problems: list[str] = []
        self.cause: BaseException | None = None

    def call(self, rewards: Sequence[Reward]) -> list[Reply]:
        """Return the replies; where there are problems, those of the rewards that did reply."""
        calls = [self._start(reward) for reward in rewards]  # coroutines begin before any plain function blocks
        replies = []
        for call in calls:
            reply = self._finish(call) if call is not None else None
            if reply is not None:
                replies.append(reply)
        return replies

    def _start(self, reward: Reward) -> Call | None:
        try:
            return reward.start(self.completions, self.columns, self.loop)
        except ReplyError as error:
            self.problems.append(f"reward `{reward.name}`: {error}.")
            return None

    def _finish(self, call: Call) -> Reply | None:
        name = call.reward.name
        try:
            return call.finish(self.loop)
        except ReplyError as error:
            self.problems.append(f"reward `{name}`: {error}.")
        except OutOfTime:
            self.problems.append(
                f"reward `{name}`: took longer than {call.reward.timeout:g} s for {call.count} completions of "
                f"{self._rows()}; make it faster, or set a larger `reward_timeout`."
            )
        except Exception as error:
            self.cause = self.cause or error
            self.problems.append(f"reward `{name}`: {self._culprit(call.reward)}{type(error).__name__}: {error}")
        return None

    def _culprit(self, reward: Reward) -> str:
        """Find the completion at which a reward fails, by calling it once for each."""
        for index, text in enumerate(self.completions):
            one = {name: [values[index]] for name, values in self.columns.items()}
            try:
                reward.start([text], one, self.loop).finish(self.loop)
            except (Exception, OutOfTime):
                return f"row {self._row(index)}, completion {shorten(text)}: "
        return f"{len(self.completions)} completions of {self._rows()} together, but not one by one: "

    def _rows(self) -> str:
        """Name the first rows."""
        rows = list(dict.fromkeys(self._row(index) for index in range(len(self.completions))))
        return f"row{'s' if len(rows) > 1 else ''} {first_of(rows)}"

    def _row(self, index: int) -> str:
        for name in ROW_IDS:
            if name in self.columns and self.columns[name][index] is not None:
                return repr(self.columns[name][index])
        return f"{index} of the batch"


def load_rewards(specs: Sequence[str], weights: Sequence[float] | None, *, timeout: float) -> Rewards:
    """Load the rewards of a run.

    Args:
        specs: registered names, `package.module:function`, `path/to/file.py:function`.
        weights: one for each, None for 1 each.
        timeout: seconds that one call of a reward may take.

    Raises:
        RewardError: with every name, weight and file that is wrong.
    """
    specs = [specs] if isinstance(specs, str) else list(specs)
    problems = _wrong_weights(weights, len(specs))
    if not finite_number(timeout) or timeout <= 0 or timeout > threading.TIMEOUT_MAX:
        problems.append(f"timeout: got {timeout!r}, expected seconds, above 0")
    if not specs:
        problems.append("reward_funcs: got none, expected at least one")
    problems += [f"reward {spec!r}: given twice" for spec in dict.fromkeys(specs) if specs.count(spec) > 1]
    functions = []
    for spec in specs:
        try:
            functions.append(find_function(spec))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise RewardError("Rewards cannot be loaded.", problems)
    named = zip(name_functions(specs), functions, strict=True)
    rewards = [Reward(name, function, timeout=timeout) for name, function in named]
    return Rewards(rewards, [1.0] * len(specs) if weights is None else weights)


def _wrong_weights(weights: Sequence[float] | None, count: int) -> list[str]:
    if weights is None:
        return []
    problems = [
        f"reward_weights[{index}]: got {weight!r}, expected a finite number"
        for index, weight in enumerate(weights)
        if not finite_number(weight)
    ]
    if len(weights) != count:
        problems.append(f"reward_weights: got {len(weights)} for {count} rewards, expected one for each, or none")
    return problems
