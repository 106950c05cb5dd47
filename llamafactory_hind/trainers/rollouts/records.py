"""Rollouts and what is said about them, before they are tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from ...engines.interface import FinishReason, Prompt
from ...formats.fields import columns_of
from ...formats.processors.origin import STANDS_IN


POLICY = "policy"  # source of a completion that the policy wrote itself


@dataclass(frozen=True)
class Rollout:
    """One prompt and its group of G completions.

    Attributes:
        feature: the processed row: prompt_input_ids, images, videos, audios, columns (JSON), row_id.
        prompt: the same for the engines; one object from writing to learning, so that its media are opened once.
        completion_ids: as sampled, stop token included; these are scored, never re-tokenised text.
        texts: decoded, without the stop token.
        finish_reasons: `LENGTH` for one that was cut.
        sources: who wrote each: `policy` or the name of another model.
        sampling_logps: of each token, under the program that wrote it; empty for another model's text. None where the policy
            in this process has written.
    """

    feature: Mapping[str, Any]
    prompt: Prompt
    completion_ids: list[list[int]]
    texts: list[str]
    finish_reasons: list[FinishReason]
    sources: list[str]
    sampling_logps: list[tuple[float, ...]] | None = None

    @cached_property
    def columns(self) -> dict[str, Any]:
        """All other columns of the row."""
        return columns_of(self.feature)

    @property
    def row_id(self) -> str:
        """Names the row, in seeds and logs."""
        return str(self.feature["row_id"])

    @property
    def stands_in(self) -> bool:
        """Whether the prompt takes the place of a bad row: nothing is learnt from it, and it is not evaluated."""
        return bool(self.feature.get(STANDS_IN))

    def longer_logps(self, more: int) -> list[tuple[float, ...]] | None:
        """Return `sampling_logps` with `more` texts of other models behind them."""
        return None if self.sampling_logps is None else [*self.sampling_logps, *[()] * more]


@dataclass(frozen=True)
class Scores:
    """Rewards of N groups; NaN where a reward does not apply.

    Attributes:
        total: (N, G) on the CPU.
        each: name -> (N, G).
        extra: name -> a value a completion [N][G], for the completion log.
    """

    total: torch.Tensor
    each: Mapping[str, torch.Tensor] = field(default_factory=dict)
    extra: Mapping[str, list[list[Any]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Annotation:
    """What a stage says about the rollouts of one optimiser step.

    Attributes:
        rollouts: those to learn from; the ones given, or others in their place (external texts, hints).
        scores: of these rollouts.
        advantages: (N, G). Groups may differ in size: tables are then as wide as the largest, NaN behind a group's end.
        streams: more numbers a completion that components read, name -> (N, G).
        metrics: more numbers to log, name -> values of any shape, NaN where there is none.
        discarded: completions that were written and rewarded, but are not learnt from; for the completion log.
        notes: more about each group for the completion log, such as the `hints` that were tried; empty where there is none.
    """

    rollouts: list[Rollout]
    scores: Scores
    advantages: torch.Tensor
    streams: Mapping[str, torch.Tensor] = field(default_factory=dict)
    metrics: Mapping[str, torch.Tensor] = field(default_factory=dict)
    discarded: "Annotation | None" = None
    notes: Sequence[Mapping[str, Any]] = ()

    def part(self, rows: slice) -> "Annotation":
        """Return the annotation of some of the groups."""
        scores = Scores(
            self.scores.total[rows],
            {name: values[rows] for name, values in self.scores.each.items()},
            {name: values[rows] for name, values in self.scores.extra.items()},
        )
        streams = {name: values[rows] for name, values in self.streams.items()}
        return Annotation(self.rollouts[rows], scores, self.advantages[rows], streams)


def join_scores(scores: Scores, others: Scores, places: Mapping[int, int]) -> Scores:
    """Return scores with the groups `places` (ours -> theirs) taken from `others`; both have the same rewards and group size."""
    ours, theirs = list(places), list(places.values())

    def table(values: torch.Tensor, more: torch.Tensor) -> torch.Tensor:
        values = values.clone()
        values[ours] = more[theirs]
        return values

    def groups(values: list[list[Any]], more: list[list[Any]]) -> list[list[Any]]:
        return [more[places[row]] if row in places else group for row, group in enumerate(values)]

    width = len(scores.total)
    empty: list[list[Any]] = [[None] * scores.total.shape[1]] * width
    names = dict.fromkeys([*scores.extra, *others.extra])
    none: list[list[Any]] = [[None] * others.total.shape[1]] * len(others.total)
    return Scores(
        table(scores.total, others.total),
        {name: table(values, others.each[name]) for name, values in scores.each.items()},
        {name: groups(scores.extra.get(name, empty), others.extra.get(name, none)) for name in names},
    )


def padded(groups: Sequence[Sequence[float]], dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return groups of numbers, perhaps of different sizes, as (N, G), NaN behind the end of a smaller group."""
    width = max(map(len, groups), default=0)
    return torch.tensor([[*group, *[float("nan")] * (width - len(group))] for group in groups], dtype=dtype)
