"""From rewards to what a completion teaches: penalties, advantages, and which completions teach at all."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from accelerate import PartialState
from accelerate.utils import gather_object

from ..engines.interface import FinishReason
from ..losses.advantages import batch_scaled_advantages, summed_advantages, whitened
from ..losses.policy import group_advantages
from ..trainers.rollouts.batch import RolloutBatch
from ..trainers.rollouts.kl_reward import KL_PENALTY
from ..trainers.rollouts.records import Annotation, Rollout, Scores, padded
from .reward_schedule import RewardSchedule
from .temporal_contrast import BONUS as TEMPORAL


if TYPE_CHECKING:
    from llamafactory.hparams import FinetuningArguments


TEACHES = "teaches"  # stream: 1 for completions that are learnt from, 0 for others
OVERLONG = "overlong"  # name of the penalty among the rewards


class GroupComparison:
    """The keys of `config.keys.signal` and `advantage_scale`, applied.

    Args:
        finetuning_args: with the keys of the online stages.
        weights: of the rewards, in their order; `at` changes this list, which is also that of the rewards.
        max_new_tokens: length at which a completion is cut; `overlong_buffer` needs it.
    """

    def __init__(
        self,
        finetuning_args: "FinetuningArguments",
        weights: list[float] | None = None,
        max_new_tokens: int | None = None,
    ) -> None:
        """Take the keys."""
        keys = finetuning_args
        self.scale, self.each = keys.advantage_scale, keys.reward_normalization == "each"
        self.mask_truncated, self.range = keys.mask_truncated, keys.group_reward_range
        self.buffer, self.penalty = keys.overlong_buffer, keys.overlong_penalty
        self.weights, self.max_new_tokens = [] if weights is None else weights, max_new_tokens
        self.schedule = RewardSchedule.of(keys, self.weights)
        # of what is added to the rewards
        self.own_weights = {OVERLONG: 1.0, KL_PENALTY: 1.0, TEMPORAL: keys.temporal_weight}

    def at(self, share: float) -> None:
        """Weigh the rewards as when this share of the training is done."""
        if self.schedule is not None:
            self.weights[:] = self.schedule.weights(share)

    def penalised(self, scores: Scores, rollouts: Sequence[Rollout]) -> Scores:
        """Return the scores with the penalty of long completions, as one more reward (DAPO, arXiv 2503.14476, eq. 13).

        With L = `max_new_tokens` and b = `overlong_buffer`, a completion of n tokens gets 0 up to L - b tokens and
        `overlong_penalty` (L - b - n) / b from there.
        """
        if not self.buffer:
            return scores
        assert self.max_new_tokens is not None, "`overlong_buffer` needs the length at which completions are cut"
        lengths = padded([[float(len(ids)) for ids in each.completion_ids] for each in rollouts], torch.float64)
        over = (lengths - (self.max_new_tokens - self.buffer)).clamp(min=0)
        penalties = -self.penalty * over / self.buffer  # (N, G), NaN behind a group's end
        return replace(scores, total=scores.total + penalties, each={**scores.each, OVERLONG: penalties})

    def advantages(self, scores: Scores) -> torch.Tensor:
        """Compare the completions of each group, (N, G); every process must call with its part of the step."""
        if self.each:
            names = list(scores.each)
            weights = [self.own_weights.get(name) or self.weights[names.index(name)] for name in names]
            summed = summed_advantages(list(scores.each.values()), weights)
            there = torch.where(scores.total.isnan(), torch.nan, summed)
            return torch.where(there.isnan(), 0.0, whitened(there, everyone(there)))
        if self.scale == "batch":
            return batch_scaled_advantages(scores.total, everyone(scores.total))
        return group_advantages(scores.total, scale=self.scale)

    def teaching(self, annotation: Annotation) -> Annotation:
        """Return the annotation with a stream that says which completions teach, where a key leaves some out."""
        if self.schedule is not None:
            weights = zip(annotation.scores.each, self.weights, strict=False)  # penalties stand behind the rewards
            found = {f"reward_weight/{name}": torch.tensor([weight]) for name, weight in weights}
            annotation = replace(annotation, metrics={**annotation.metrics, **found})
        if not filters(self.mask_truncated, self.range):
            return annotation
        total, rollouts = annotation.scores.total, annotation.rollouts
        teaches = torch.ones_like(total)
        metrics = {}
        if self.mask_truncated:
            cut = padded(
                [[float(reason == FinishReason.LENGTH) for reason in each.finish_reasons] for each in rollouts]
            )
            teaches = torch.where(cut == 1, 0.0, teaches)
        if self.range is not None:
            means = total.nanmean(1, keepdim=True)
            inside = (means >= self.range[0]) & (means <= self.range[1])  # a group without rewards is outside
            metrics["groups_in_range"] = inside.double()
            teaches = torch.where(inside, teaches, 0.0)
        return replace(
            annotation, streams={**annotation.streams, TEACHES: teaches}, metrics={**annotation.metrics, **metrics}
        )


def filters(mask_truncated: bool, group_reward_range: Sequence[float] | None) -> bool:
    """Say whether these keys leave any completion out."""
    return mask_truncated or group_reward_range is not None


def teaching_mask(finetuning_args: "FinetuningArguments") -> Callable[[RolloutBatch], torch.Tensor] | None:
    """Return the mask of a loss component (R, 1); None where every completion teaches."""
    if not filters(finetuning_args.mask_truncated, finetuning_args.group_reward_range):
        return None
    return lambda batch: batch.streams[TEACHES][:, None] > 0


def everyone(values: torch.Tensor) -> torch.Tensor:
    """Return the numbers of all processes in one row."""
    flat = values.flatten()
    if PartialState().num_processes == 1:
        return flat
    return torch.tensor([number for part in gather_object([flat.tolist()]) for number in part], dtype=values.dtype)
