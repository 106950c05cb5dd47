"""What a rollout is, what an annotator says about it, and both as tensors of one micro-batch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import torch

from ...engines.interface import Request
from ...engines.local.encoding import MEDIA, Prompt


if TYPE_CHECKING:
    from ..token_objectives import TokenObjective
    from .components import Component

POLICY = "policy"  # source of a completion that the policy wrote itself


@dataclass(frozen=True)
class Rollout:
    """One prompt and its group of G completions.

    Attributes:
        feature: the processed row: prompt_input_ids, images, videos, audios, columns (JSON), row_id.
        prompt: the same for the engines; one object from writing to learning, so that its media are opened once.
        completion_ids: as sampled, stop token included; these are scored, never re-tokenised text.
        texts: decoded, without the stop token.
        finish_reasons: `stop`, or `length` for one that was cut.
        sources: who wrote each: `policy` or the name of another model.
    """

    feature: Mapping[str, Any]
    prompt: Prompt
    completion_ids: list[list[int]]
    texts: list[str]
    finish_reasons: list[str]
    sources: list[str]

    @cached_property
    def columns(self) -> dict[str, Any]:
        """All other columns of the row."""
        return json.loads(self.feature.get("columns") or "{}")

    @property
    def row_id(self) -> str:
        """Names the row, in seeds and logs."""
        return str(self.feature["row_id"])


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
        passed_over: completions that were written and rewarded, but are not learnt from; for the completion log.
    """

    rollouts: list[Rollout]
    scores: Scores
    advantages: torch.Tensor
    streams: Mapping[str, torch.Tensor] = field(default_factory=dict)
    metrics: Mapping[str, torch.Tensor] = field(default_factory=dict)
    passed_over: "Annotation | None" = None

    def part(self, rows: slice) -> "Annotation":
        """Return the annotation of some of the groups."""
        scores = Scores(
            self.scores.total[rows],
            {name: values[rows] for name, values in self.scores.each.items()},
            {name: values[rows] for name, values in self.scores.extra.items()},
        )
        streams = {name: values[rows] for name, values in self.streams.items()}
        return Annotation(self.rollouts[rows], scores, self.advantages[rows], streams)


class Annotator(Protocol):
    """A method, seen from the trainer.

    It may also have `objective`, numbers a token that need the policy's hidden states, and `close`, called when all is done.
    """

    components: "Sequence[Component]"
    objective: "TokenObjective | None" = None

    def score(self, rollouts: list[Rollout]) -> Scores:
        """Return the rewards of groups of equal size; used as it is while evaluating."""

    def annotate(self, rollouts: list[Rollout]) -> Annotation:
        """Return what training needs to know about the rollouts of one step (of this process)."""


@dataclass
class RolloutBatch:
    """A micro-batch: R completions of N prompts as tensors, padded on the right.

    Attributes:
        prompts: N of them.
        owners: (R,) number of each completion's prompt, never falling: packed rows hold them in this order.
        tokens: (R, S) ids of the completions.
        mask: (R, S) bool, which of them are there.
        advantages: (R,).
        streams: name -> (R,).
        sources: R names.
        old_logps: (R, S) of the policy that wrote them; None until the first pass over this batch.
        ref_logps: (R, S) of the reference, where a component needs it.
        normalisers: name of a component -> what its sum is divided by, over the whole optimiser step.
        token_streams: name -> (R, S) of a token objective, 0 where no token is; there while the components compute.
    """

    prompts: list[Prompt]
    owners: torch.Tensor
    tokens: torch.Tensor
    mask: torch.Tensor
    advantages: torch.Tensor
    streams: dict[str, torch.Tensor]
    sources: list[str]
    old_logps: torch.Tensor | None = None
    ref_logps: torch.Tensor | None = None
    normalisers: dict[str, float] = field(default_factory=dict)
    token_streams: dict[str, torch.Tensor] = field(default_factory=dict)

    def completion(self, row: int) -> list[int]:
        """Return the ids of one completion."""
        return self.tokens[row][self.mask[row]].tolist()

    def first(self, prompts: int, completions: int) -> "RolloutBatch":
        """Return a smaller batch: some completions of the first prompts."""
        rows = [
            row
            for number in range(min(prompts, len(self.prompts)))
            for row in (self.owners == number).nonzero()[:completions, 0].tolist()
        ]
        return self.take(torch.tensor(rows, device=self.owners.device))

    def take(self, rows: torch.Tensor) -> "RolloutBatch":
        """Return a smaller batch: the completions of these rows, numbers that rise, and the prompts they belong to.

        What earlier passes brought (log-probs, normalisers, token streams) is left behind.
        """
        numbers, owners = self.owners[rows].unique(return_inverse=True)
        width = int(self.mask[rows].sum(1).max())
        return RolloutBatch(
            [self.prompts[number] for number in numbers.tolist()],
            owners,
            self.tokens[rows, :width],
            self.mask[rows, :width],
            self.advantages[rows],
            {name: values[rows] for name, values in self.streams.items()},
            [self.sources[row] for row in rows.tolist()],
        )


def padded(groups: Sequence[Sequence[float]], dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return groups of numbers, perhaps of different sizes, as (N, G), NaN behind the end of a smaller group."""
    width = max(map(len, groups), default=0)
    return torch.tensor([[*group, *[float("nan")] * (width - len(group))] for group in groups], dtype=dtype)


def prompt_of(feature: Mapping[str, Any]) -> Prompt:
    """Return a processed row as a prompt of the engines."""
    media = {kind: list(feature.get(kind) or []) for kind in MEDIA}
    return Prompt(list(feature["prompt_input_ids"]), [], Request((), **media))


def batch_of(annotation: Annotation, *, device: torch.device) -> RolloutBatch:
    """Turn annotated rollouts into tensors; completions stand in the order of their prompts, `owners` tells them apart."""
    rollouts = annotation.rollouts
    completions = [ids for rollout in rollouts for ids in rollout.completion_ids]
    lengths = torch.tensor([len(ids) for ids in completions])
    width = int(lengths.max())
    tokens = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in completions])  # (R, S)
    owners = [number for number, rollout in enumerate(rollouts) for _ in rollout.completion_ids]
    sizes = torch.tensor([len(rollout.completion_ids) for rollout in rollouts])
    there = torch.arange(annotation.advantages.shape[1]) < sizes[:, None]  # (N, G)
    return RolloutBatch(
        prompts=[rollout.prompt for rollout in rollouts],
        owners=torch.tensor(owners, device=device),
        tokens=tokens.to(device),
        mask=(torch.arange(width) < lengths[:, None]).to(device),
        advantages=annotation.advantages[there].to(device),
        streams={name: values[there].to(device) for name, values in annotation.streams.items()},
        sources=[source for rollout in rollouts for source in rollout.sources],
    )
