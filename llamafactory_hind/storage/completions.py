"""What models wrote, as the logs of calls and of teachers' texts keep it: a list of values a completion."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar


Made = TypeVar("Made")


class Written(Protocol):
    """What is kept of `engines.interface.Completion`, which this folder may not import."""

    @property
    def text(self) -> str:
        """Decoded, without the stop token."""

    @property
    def token_ids(self) -> Sequence[int]:
        """As sampled."""

    @property
    def logprob(self) -> float | None:
        """Sum over the tokens."""

    @property
    def finish_reason(self) -> str:
        """Why it ended."""

    @property
    def tokens(self) -> int | None:
        """How many, where their ids cannot be had."""


def pack_completions(completions: Iterable[Written]) -> list[list[Any]]:
    """Return completions as JSON can write them."""
    return [[one.text, list(one.token_ids), one.logprob, one.finish_reason, one.tokens] for one in completions]


def unpack_completions(kept: Iterable[Sequence[Any]], make: Callable[..., Made]) -> list[Made]:
    """Return what `pack_completions` packed.

    Args:
        kept: read from JSON.
        make: takes text, token ids (a tuple), log-prob, reason and number of tokens: `Completion`.
    """
    return [make(text, tuple(ids), logprob, reason, tokens) for text, ids, logprob, reason, tokens in kept]
