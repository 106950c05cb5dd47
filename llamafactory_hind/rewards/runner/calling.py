"""One reward as it is called: which columns it takes, how long it may take, and whether it returned what a reward returns."""

import inspect
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...config.problem import shorten
from ...config.types import nearest
from .limits import Loop, call_within


EXPECTED = "a list with one float or None for each completion, or a pair of it and a dict of columns for the log"
COMPLETIONS = "completions"
NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
POSITIONAL = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)


@dataclass(frozen=True)
class Reply:
    """What a reward returned: a score for each completion, and columns for the log."""

    scores: list[float | None]
    extra: dict[str, list[Any]] = field(default_factory=dict)


@dataclass
class Call:
    """A call under way: of a coroutine function on the loop, of any other when `finish` asks for its result."""

    reward: "Reward"
    function: Callable[[], Any]
    count: int
    future: Any = None

    def finish(self, loop: Loop) -> Reply:
        """Return the reply.

        Raises:
            OutOfTime: it took longer than it may.
            ReplyError: it is none.
            Exception: whatever the reward raised.
        """
        seconds = self.reward.timeout
        if self.future is not None:
            return read_reply(loop.result(seconds, self.future), self.count)
        result = call_within(seconds, self.function)
        if inspect.isawaitable(result):  # an object whose __call__ is a coroutine function
            awaitable = result
            result = loop.result(seconds, loop.submit(seconds, lambda: awaitable))
        return read_reply(result, self.count)


class ReplyError(ValueError):
    """A reward returned something that is no reply, or cannot be called with these columns."""


class Reward:
    """A function that scores completions.

    Args:
        name: for logs and errors.
        function: `f(completions, **columns)`.
        timeout: seconds that one call may take.
    """

    def __init__(self, name: str, function: Callable[..., Any], *, timeout: float) -> None:
        """Read the signature."""
        self.name = name
        self.function = function
        self.timeout = timeout
        self.is_async = inspect.iscoroutinefunction(function)
        try:
            self.parameters = dict(inspect.signature(function).parameters)
        except (TypeError, ValueError):  # built in C: it gets everything
            self.parameters = dict(inspect.signature(lambda completions, **columns: None).parameters)

    def start(self, completions: Sequence[str], columns: Mapping[str, Sequence[Any]], loop: Loop) -> Call:
        """Begin a call.

        Raises:
            ReplyError: the function cannot be called with these columns.
        """
        positional, named = self._arguments(list(completions), columns)
        call = Call(self, lambda: self.function(*positional, **named), len(completions))
        if self.is_async:
            call.future = loop.submit(self.timeout, call.function)
        return call

    def _arguments(
        self, completions: list[str], columns: Mapping[str, Sequence[Any]]
    ) -> tuple[list[Any], dict[str, Any]]:
        """Return what the function is called with: all columns, or those it names where it has no `**columns`."""
        if COMPLETIONS in columns:
            raise ReplyError("the rows have a column `completions`, the name of what is scored; rename the column")
        parameters = self.parameters
        takes_all = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
        own = parameters.get(COMPLETIONS)
        if (
            own is not None and own.kind in NAMED
        ):  # any place is allowed, as in TRL's f(prompts, completions, **columns)
            positional, named, first = [], {COMPLETIONS: completions}, COMPLETIONS
        else:
            first = next((name for name, one in parameters.items() if one.kind in POSITIONAL), "")
            positional, named = [completions], {}
            if not first:
                raise ReplyError("it takes no completions, expected a function f(completions, **columns)")
        wanted = {name: one for name, one in parameters.items() if name != first and one.kind in NAMED}
        missing = [name for name, one in wanted.items() if name not in columns and one.default is one.empty]
        if missing:
            raise ReplyError("; ".join(_missing(name, columns) for name in missing))
        named |= {name: list(values) for name, values in columns.items() if takes_all or name in wanted}
        return positional, named


def read_reply(result: Any, count: int) -> Reply:
    """Return a reply with Python floats.

    Raises:
        ReplyError: what was returned is none.
    """
    scores, extra = result if isinstance(result, tuple) and len(result) == 2 else (result, {})
    if isinstance(result, tuple) and not isinstance(extra, Mapping):
        raise ReplyError(f"it returned {shorten(result)}, expected {EXPECTED}")
    scores = scores.tolist() if hasattr(scores, "tolist") else scores
    if not isinstance(scores, list):
        raise ReplyError(f"it returned {_typed(scores)}, expected {EXPECTED}")
    if len(scores) != count:
        raise ReplyError(f"it returned {len(scores)} values for {count} completions, expected one for each")
    for index, score in enumerate(scores):
        is_number = isinstance(score, numbers.Real) and not isinstance(score, bool) and math.isfinite(score)
        if score is not None and not is_number:
            expected = "a finite float, or None where the reward does not apply"
            raise ReplyError(f"it returned {_typed(score)} for completion {index}, expected {expected}")
    for name, values in extra.items():
        if not isinstance(name, str) or not isinstance(values, list) or len(values) != count:
            expected = f"a name and a list of {count} values, one for each completion"
            raise ReplyError(f"its column {name!r} for the log is {_typed(values)}, expected {expected}")
    return Reply([None if score is None else float(score) for score in scores], dict(extra))


def _missing(name: str, columns: Mapping[str, Any]) -> str:
    near = nearest(name, columns)
    hint = f"; did you mean `{near}`?" if near else ""
    return (
        f"it has an argument `{name}`, and the rows have no such column (they have {', '.join(sorted(columns))}){hint}"
    )


def _typed(value: Any) -> str:
    return f"{shorten(value)} ({type(value).__name__})"
