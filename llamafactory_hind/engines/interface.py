"""What an engine is: a model that writes and scores, wherever it runs. Pure Python.

Pipelines talk to an `Engine`, rollouts to a `RolloutEngine`; a model in this process is both. `open.py` picks one by name.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from ..storage.digests import medium_name
from .usage import Usage


if TYPE_CHECKING:
    from torch import nn


class FinishReason(StrEnum):
    """Why a completion ends; a text like any other in files."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True)
class Request:
    """One conversation that ends with a user turn.

    Attributes:
        messages: `{"role": "user" | "assistant", "content": text}` turns; media placeholders are in the contents.
        images: paths, encoded bytes or decoded pictures, one a placeholder; likewise `videos` and `audios`.
        system: system text; None is the template's own.
        key: names the stream of random numbers of this request; None takes the content, so that equal requests of one call
            differ by their order only.
    """

    messages: Sequence[dict[str, str]]
    images: Sequence[Any] = ()
    videos: Sequence[Any] = ()
    audios: Sequence[Any] = ()
    system: str | None = None
    key: str | None = None


@dataclass(frozen=True)
class Prompt:
    """A request as tokens, as the host's template makes them.

    Attributes:
        input_ids: a medium is as many pad tokens as the model sees of it.
        answer_ids: the assistant turn to score, empty when one is to be written.
        request: its media; messages may be left out, since the tokens hold them.
    """

    input_ids: list[int]
    answer_ids: list[int]
    request: Request

    @property
    def length(self) -> int:
        """Tokens in all."""
        return len(self.input_ids) + len(self.answer_ids)

    @property
    def kind(self) -> tuple[bool, bool, bool]:
        """Whether it has images, videos, audios."""
        return bool(self.request.images), bool(self.request.videos), bool(self.request.audios)

    @property
    def media(self) -> tuple[str, ...]:
        """What tells the media of this prompt from those of another: paths, else their content."""
        request = self.request
        media = (*request.images, *request.videos, *request.audios)
        return tuple(str(medium_name(medium, path=str)) for medium in media)


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
        finish_reason: `LENGTH` when it was cut.
        tokens: how many tokens `logprob` sums over, where their ids cannot be had (then `token_ids` is empty).
        sampling_logps: of each of `token_ids`, log p of the distribution that it was drawn from, at the temperature of writing;
            empty where the writer is the model that learns, or does not say.
    """

    text: str
    token_ids: tuple[int, ...]
    logprob: float | None
    finish_reason: FinishReason
    tokens: int | None = None
    sampling_logps: tuple[float, ...] = ()

    @property
    def confidence(self) -> float | None:
        """Mean log-probability a token, `(1/|k|) sum log p(k_t | x, k_<t)` (HinD's confidence)."""
        count = len(self.token_ids) or self.tokens
        return None if self.logprob is None or not count else self.logprob / count


def kept_completion(
    text: str, token_ids: tuple[int, ...], logprob: float | None, reason: str, tokens: int | None
) -> Completion:
    """Return a completion from the values that `storage.completions` keeps of it."""
    return Completion(text, token_ids, logprob, FinishReason(reason), tokens)


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
        token_ids: its completions have the ids that were sampled, as rollouts need them.
        adapters: it switches LoRA adapters by path.
        syncs: it writes with the weights of a policy in training, see `sync`.
        concurrent: its calls wait for a server: many are under way at a time, and each request is independent. Others compute
            the requests of a call in batches, one call at a time.
    """

    texts: bool
    scores: bool
    images: bool
    videos: bool
    audios: bool = False
    distributions: bool = False
    token_ids: bool = False
    adapters: bool = False
    syncs: bool = False
    concurrent: bool = False

    def lacking(self, *names: str) -> list[str]:
        """Return which of the capabilities of these names are not there."""
        return [name for name in names if not getattr(self, name)]


class Engine(Protocol):
    """A model that writes and, perhaps, scores."""

    @property
    def capabilities(self) -> Capabilities:
        """What this engine can give."""

    @property
    def usage(self) -> Usage:
        """What it has done so far: every engine counts its own calls and tokens."""

    async def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """Write `sampling.n` completions for every request, the greedy one first if asked for.

        Raises:
            ValueError: a request's media and placeholders disagree, or the engine takes no such media.
        """

    async def score(self, requests: Sequence[Request], texts: Sequence[str | Sequence[int]]) -> list[Score]:
        """Score one assistant turn a request: a text, or the token ids of a completion.

        Raises:
            ValueError: the engine cannot (`capabilities.scores`).
        """

    def sync(self, model: "nn.Module") -> None:
        """Take over the weights of a policy in training; what is written from now on comes from them.

        Raises:
            ValueError: the engine cannot (`capabilities.syncs`).
        """

    async def close(self) -> None:
        """Release connections; a later call may open new ones."""


class RolloutEngine(Protocol):
    """A model that writes rollouts: token ids in, token ids out. It waits for the result, as the training loop does.

    It must have `token_ids` and `syncs`. A server would check that `prompt.input_ids` are the ids that it was shown.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What this engine can give."""

    def generate_prompts(
        self,
        prompts: Sequence[Prompt],
        keys: Sequence[str],
        sampling: Sampling,
        *,
        on_generated: Callable[[int], None] | None = None,
    ) -> list[list[Completion]]:
        """Write for prompts that are tokens already; see `Engine.generate`.

        Args:
            prompts: without an answer.
            keys: name of each prompt's stream of random numbers: with `sampling.seed` they fix what is written, whatever
                else is in the batch.
            sampling: how to write.
            on_generated: called after every batch with the number of completions in it.
        """

    def sync(self, model: "nn.Module") -> None:
        """Take over the weights of the policy; see `Engine.sync`. Called before the rollouts of every step."""
