"""What a rollout is, what an annotator says about it, and both as tensors of one micro-batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from ...engines.interface import Prompt, Request
from ...formats.media.fields import MEDIA_FIELDS
from .records import POLICY, Annotation, Rollout


if TYPE_CHECKING:
    pass


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
        sampling_logps: (R, S) of the program that wrote them, NaN where that is another model; None where the policy in this
            process has written.
        normalisers: name of a component -> what its sum is divided by, over the whole optimiser step.
        token_streams: name -> (R, S) of a token objective, 0 where no token is; there while the components compute.
        counts: (R, 1) bool, False for completions of a prompt that stands in for a bad row; None where there is none.
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
    sampling_logps: torch.Tensor | None = None
    normalisers: dict[str, float] = field(default_factory=dict)
    token_streams: dict[str, torch.Tensor] = field(default_factory=dict)
    counts: torch.Tensor | None = None

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

    def longest(self, completions: int) -> "RolloutBatch":
        """Return a smaller batch: the longest completions of each prompt."""
        lengths = self.mask.sum(1)
        kept: list[int] = []
        for number in range(len(self.prompts)):
            own = (self.owners == number).nonzero()[:, 0].tolist()
            kept += sorted(sorted(own, key=lambda row: -int(lengths[row]))[:completions])
        return self.take(torch.tensor(kept, device=self.owners.device))

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
            sampling_logps=None if self.sampling_logps is None else self.sampling_logps[rows, :width],
            counts=None if self.counts is None else self.counts[rows],
        )


def prompt_of(feature: Mapping[str, Any]) -> Prompt:
    """Return a processed row as a prompt of the engines."""
    media = {kind: list(feature.get(kind) or []) for kind in MEDIA_FIELDS}
    return Prompt(list(feature["prompt_input_ids"]), [], Request((), **media))


def batch_of(annotation: Annotation, *, device: torch.device) -> RolloutBatch:
    """Turn annotated rollouts into tensors; completions stand in the order of their prompts, `owners` says whose they are."""
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
        advantages=_narrow(annotation.advantages[there]).to(device),
        streams={name: _narrow(values[there]).to(device) for name, values in annotation.streams.items()},
        sources=[source for rollout in rollouts for source in rollout.sources],
        sampling_logps=_sampling_logps(rollouts, width, device),
        counts=_counts(rollouts, device),
    )


def _sampling_logps(rollouts: Sequence[Rollout], width: int, device: torch.device) -> torch.Tensor | None:
    """Return (R, S) log-probs of the writer, NaN where there are none; None where the policy has written everything."""
    if all(rollout.sampling_logps is None for rollout in rollouts):
        return None
    nan = float("nan")
    rows = [
        [*logps, *[nan] * (width - len(logps))]
        for rollout in rollouts
        for logps in (rollout.sampling_logps or [()] * len(rollout.completion_ids))
    ]
    return torch.tensor(rows, device=device)


def _counts(rollouts: Sequence[Rollout], device: torch.device) -> torch.Tensor | None:
    """Return (R, 1), which completions are learnt from; None where all are."""
    if not any(rollout.stands_in for rollout in rollouts):
        return None
    rows = [[not rollout.stands_in] for rollout in rollouts for _ in rollout.completion_ids]
    return torch.tensor(rows, device=device)


def _narrow(values: torch.Tensor) -> torch.Tensor:
    """Return float64 as float32: rewards are counted in it, some devices cannot hold it, and a loss needs no more."""
    return values.float() if values.dtype == torch.float64 else values


def bare_batch(
    prompts: Sequence[Prompt], completions: Sequence[Sequence[Sequence[int]]], *, device: torch.device
) -> RolloutBatch:
    """Return completions that are only to be scored: ids of a prompt's completions, for each prompt."""
    owners = [number for number, group in enumerate(completions) for _ in group]
    rows = [ids for group in completions for ids in group]
    lengths = torch.tensor([len(ids) for ids in rows])
    width = int(lengths.max())
    return RolloutBatch(
        prompts=list(prompts),
        owners=torch.tensor(owners, device=device),
        tokens=torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in rows], device=device),
        mask=(torch.arange(width) < lengths[:, None]).to(device),
        advantages=torch.zeros(len(rows), device=device),
        streams={},
        sources=[POLICY] * len(rows),
    )
