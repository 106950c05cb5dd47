"""What an engine is: a model that writes and scores, wherever it runs. Pure Python.

Rollouts, teachers and pipelines talk to this interface alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Request:
    """One conversation that ends with a user turn.

    Attributes:
        messages: `{"role": "user" | "assistant", "content": text}` turns; media placeholders stand in the contents.
        images: paths, encoded bytes or decoded pictures, one a placeholder; likewise `videos` and `audios`.
        system: system text; None is the template's own.
        key: names the stream of random numbers of this request; None takes the content, so that equal requests of one call are
            told apart by their order only.
    """

    messages: Sequence[dict[str, str]]
    images: Sequence[Any] = ()
    videos: Sequence[Any] = ()
    audios: Sequence[Any] = ()
    system: str | None = None
    key: str | None = None


@dataclass(frozen=True)
class Sampling:
    """How to write.

    Attributes:
        n: completions a request.
        temperature: 0 is greedy.
        top_p: smallest set of tokens with this probability; 1.0 is off.
        top_k: 0 is off.
        max_new_tokens: the completion is cut after so many tokens.
        seed: with the request's key and the sample's number it fixes the random numbers.
        greedy_first: write one greedy completion more, and put it first.
    """

    n: int
    temperature: float
    top_p: float
    top_k: int
    max_new_tokens: int
    seed: int
    greedy_first: bool = False

    def __post_init__(self) -> None:
        """Refuse values that mean nothing.

        Raises:
            ValueError: names every wrong value.
        """
        wrong = [
            f"{name}: got {getattr(self, name)!r}, expected {expected}"
            for name, expected, right in (
                ("n", "0 with `greedy_first`, or more", self.n > 0 or (self.n == 0 and self.greedy_first)),
                ("temperature", "0 or more", self.temperature >= 0),
                ("top_p", "more than 0, at most 1", 0 < self.top_p <= 1),
                ("top_k", "0 (off) or more", self.top_k >= 0),
                ("max_new_tokens", "1 or more", self.max_new_tokens >= 1),
            )
            if not right
        ]
        if wrong:
            raise ValueError("; ".join(wrong) + ".")

    @property
    def temperatures(self) -> list[float]:
        """Temperature of each completion of a request, in the order in which they are returned."""
        return [0.0] * self.greedy_first + [self.temperature] * self.n


@dataclass(frozen=True)
class Completion:
    """What a model wrote.

    Attributes:
        text: decoded, without the stop token.
        token_ids: as sampled, stop token included; score these, not the text.
        logprob: sum over `token_ids` of log p under the model at temperature 1, all tokens allowed; None where it cannot be had.
        finish_reason: `stop`, or `length` when it was cut.
        tokens: how many tokens `logprob` sums over, where their ids cannot be had (then `token_ids` is empty).
    """

    text: str
    token_ids: tuple[int, ...]
    logprob: float | None
    finish_reason: str
    tokens: int | None = None

    @property
    def confidence(self) -> float | None:
        """Mean log-probability a token, `(1/|k|) sum log p(k_t | x, k_<t)` (HinD's confidence)."""
        count = len(self.token_ids) or self.tokens
        return None if self.logprob is None or not count else self.logprob / count


@dataclass(frozen=True)
class Score:
    """What a model thinks of a given assistant turn.

    Attributes:
        logprob: sum of log p over its tokens, stop token included.
        tokens: how many they are.
    """

    logprob: float
    tokens: int


@dataclass(frozen=True)
class Capabilities:
    """What an engine can give, asked before any work starts.

    Attributes:
        texts: it writes.
        scores: it scores given texts.
        images: it is shown images.
        videos: likewise.
        audios: likewise.
        distributions: over the whole vocabulary at each of given tokens, as distillation needs them.
    """

    texts: bool
    scores: bool
    images: bool
    videos: bool
    audios: bool = False
    distributions: bool = False


class Engine(Protocol):
    """A model that writes and, perhaps, scores."""

    @property
    def capabilities(self) -> Capabilities:
        """What this engine can give."""

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """Write `sampling.n` completions for every request, the greedy one first if asked for."""

    def score(self, requests: Sequence[Request], texts: Sequence[str | Sequence[int]]) -> list[Score]:
        """Score one assistant turn a request: a text, or the token ids of a completion."""
