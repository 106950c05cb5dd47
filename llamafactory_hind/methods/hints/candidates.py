"""What exploration with hints finds: accepted completions, as candidates of the groups of prompts without a hint, and counts."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ...engines.interface import Completion, Prompt
from ...trainers.rollouts.records import Rollout, Scores, padded
from ..external.candidates import Candidates


HINTED = "hinted"  # source of a completion that the policy wrote with a hint in its prompt
REFUSALS = ("cut", "special_token", "leak", "wrong")
NAN = float("nan")


@dataclass(frozen=True)
class HintedCompletion:
    """A completion that was accepted.

    Attributes:
        completion: as sampled under the prompt with the hint.
        hint: that it was written with.
        total: its reward; likewise `each` and `extra` by name.
    """

    completion: Completion
    hint: str
    total: float
    each: dict[str, float]
    extra: dict[str, Any]


@dataclass
class HintSearch:
    """What is going on for one prompt.

    Attributes:
        place: number of the prompt.
        needed: completions that its group may still take.
        hint: the latest; None before the first.
        prompt: of the student with this hint; None until it is needed.
        fruitful: something was accepted with it.
        attempts: so many times the policy has written with a hint.
        counts: `hint_failed`, `written`, `tokens` and reasons of refusals.
        trials: every hint and its fate, in their order, for the completion log.
    """

    place: int
    rollout: Rollout
    needed: int
    hint: str | None = None
    prompt: Prompt | None = None
    fruitful: bool = False
    attempts: int = 0
    accepted: list[HintedCompletion] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    trials: list[dict[str, Any]] = field(default_factory=list)

    def note(self, attempt: int, hint: str | None, fate: str, **counts: int) -> None:
        """Keep a hint (None where the teacher gave no text) and what became of it: `accepted`, `rejected: …`, `failed: …`."""
        self.trials.append({"attempt": attempt, "hint": hint, "fate": fate, **counts})

    @property
    def done(self) -> bool:
        """Whether the group takes no more."""
        return len(self.accepted) >= self.needed


@dataclass(frozen=True)
class Exploration:
    """What exploration found for N prompts.

    Attributes:
        candidates: of each group: the policy's completions, then hinted ones, at most K, which are right.
        scores: of all of them, with `extra["hint"]`; those that were given where nothing was found.
        hints: the latest hint of each prompt; None where there was none.
        metrics: name -> (N,), NaN where a prompt was not explored.
        trials: of each prompt, see `HintSearch`; empty where it was not explored.
    """

    candidates: list[Candidates]
    scores: Scores
    hints: list[str | None]
    metrics: dict[str, torch.Tensor]
    trials: list[list[dict[str, Any]]]


def hinted_rollout(rollout: Rollout, completions: Sequence[Completion]) -> Rollout:
    """Return completions under the prompt without a hint: the ids as they were sampled, the prompt as it was."""
    return replace(
        rollout,
        completion_ids=[list(completion.token_ids) for completion in completions],
        texts=[completion.text for completion in completions],
        finish_reasons=[completion.finish_reason for completion in completions],
        sources=[HINTED] * len(completions),
        sampling_logps=None,
    )


def merge_candidates(
    rollouts: list[Rollout], scores: Scores, searches: Sequence[HintSearch], triggered: Sequence[bool]
) -> Exploration:
    """Return the candidates of all groups, with what their searches found."""
    by_place = {search.place: search for search in searches}
    accepted = [by_place[place].accepted if place in by_place else [] for place in range(len(rollouts))]
    hints = [by_place[place].hint if place in by_place else None for place in range(len(rollouts))]
    candidates = [_join(*each) for each in zip(rollouts, accepted, strict=True)]
    if any(accepted):
        scores = _join_scores(rollouts, scores, accepted)
    trials = [by_place[place].trials if place in by_place else [] for place in range(len(rollouts))]
    return Exploration(candidates, scores, hints, _metrics(triggered, by_place), trials)


def _join(rollout: Rollout, accepted: Sequence[HintedCompletion]) -> Candidates:
    """Return a group's candidates: the ids as they were sampled, under the prompt without a hint."""
    hinted = hinted_rollout(rollout, [found.completion for found in accepted])
    joined = replace(
        rollout,
        completion_ids=[*rollout.completion_ids, *hinted.completion_ids],
        texts=[*rollout.texts, *hinted.texts],
        finish_reasons=[*rollout.finish_reasons, *hinted.finish_reasons],
        sources=[*rollout.sources, *hinted.sources],
        sampling_logps=rollout.longer_logps(len(accepted)),
    )
    logprobs = [*(0.0 for _ in rollout.texts), *(found.completion.logprob or 0.0 for found in accepted)]
    return Candidates(joined, logprobs)


def _join_scores(rollouts: list[Rollout], scores: Scores, accepted: Sequence[Sequence[HintedCompletion]]) -> Scores:
    """Return the rewards of all candidates, NaN behind the end of a smaller group."""
    sizes = [len(rollout.texts) for rollout in rollouts]

    def join(values: torch.Tensor, more: Sequence[Sequence[float]]) -> torch.Tensor:
        own = zip(values.tolist(), sizes, more, strict=True)
        return padded([[*row[:size], *found] for row, size, found in own], dtype=values.dtype)

    extra = {
        name: [[*row, *(found.extra.get(name) for found in some)] for row, some in zip(values, accepted, strict=True)]
        for name, values in scores.extra.items()
    }
    extra["hint"] = [
        [*[None] * size, *(found.hint for found in some)] for size, some in zip(sizes, accepted, strict=True)
    ]
    each = {
        name: join(values, [[found.each.get(name, NAN) for found in some] for some in accepted])
        for name, values in scores.each.items()
    }
    return Scores(join(scores.total, [[found.total for found in some] for some in accepted]), each, extra)


def _metrics(triggered: Sequence[bool], by_place: dict[int, HintSearch]) -> dict[str, torch.Tensor]:
    """Return one number a prompt (N,).

    `hints/triggered` (0 or 1) and `hints/tokens` (written by the student with a hint in its prompt) are of all prompts, the others of
    those that were explored (a group of right completions takes none): `rescued` (0 or 1), `injected`, `attempts`, `written`
    completions, `hint_failed`, and refusals by reason.
    """
    prompts = len(triggered)
    values: dict[str, list[float]] = {
        "triggered": [float(fires) for fires in triggered],
        "tokens": [float(by_place[place].counts["tokens"]) if place in by_place else 0.0 for place in range(prompts)],
    }
    of: dict[str, Callable[[HintSearch], float]] = {
        "rescued": lambda search: bool(search.accepted),
        "injected": lambda search: len(search.accepted),
        "attempts": lambda search: search.attempts,
    }
    counted = ("written", "hint_failed", *REFUSALS)
    searches = [by_place.get(place) for place in range(prompts)]
    for name, read in of.items():
        values[name] = [NAN if search is None else float(read(search)) for search in searches]
    for name in counted:
        values[name] = [NAN if search is None else float(search.counts[name]) for search in searches]
    return {f"hints/{name}": torch.tensor(some, dtype=torch.float64) for name, some in values.items()}
