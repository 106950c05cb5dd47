"""Dynamic sampling (DAPO, arXiv 2503.14476, section 3.2): other prompts in the place of those whose groups teach nothing.

A group whose rewards are all equal has advantages of 0. DAPO writes for more prompts until the batch is full of groups that differ.
Here each place of the batch looks for its own: what is drawn follows from seed, step, row and attempt, so the split into
micro-batches or processes changes nothing, and the number of tries is bounded.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from .metrics import flat_groups
from .records import Rollout, Scores, join_scores


if TYPE_CHECKING:
    from llamafactory.hparams import FinetuningArguments


@dataclass(frozen=True)
class Resampled:
    """Groups to learn from.

    Attributes:
        rollouts: as many as there were, in their order.
        scores: of them.
        metrics: (N,) each: `resampled` 1 where another prompt took the place, `resampled/failed` 1 where none with signal was found.
    """

    rollouts: list[Rollout]
    scores: Scores
    metrics: dict[str, torch.Tensor]


@dataclass(frozen=True)
class DynamicSampling:
    """Finds other prompts.

    Attributes:
        attempts: at each place, 1 or more.
        reward_range: lowest and highest mean reward of a group that teaches; None is no limit.
    """

    attempts: int
    reward_range: Sequence[float] | None = None

    @classmethod
    def of(cls, finetuning_args: "FinetuningArguments") -> "DynamicSampling | None":
        """Take the keys of `stage: grpo`; None where it is off."""
        if not finetuning_args.dynamic_sampling:
            return None
        return cls(finetuning_args.max_resample_times, finetuning_args.group_reward_range)

    def replace(
        self,
        rollouts: list[Rollout],
        dataset: Any,
        *,
        seed: str,
        write: Callable[[list[Mapping[str, Any]], int], list[Rollout]],
        score: Callable[[list[Rollout]], Scores],
    ) -> Resampled:
        """Return the groups with others in the place of those without signal; the first ones stay where no attempt helps.

        Args:
            rollouts: N groups of equal size.
            dataset: processed rows to draw from.
            seed: with row and attempt it fixes what is drawn.
            write: writes groups for rows in an attempt.
            score: rewards groups.
        """
        kept, scores = list(rollouts), score(rollouts)
        missing = self._without_signal(scores)
        first = len(missing)
        for attempt in range(1, self.attempts + 1):
            if not missing:
                break
            drawn = [self._draw(dataset, f"{seed}/{rollouts[place].row_id}/{attempt}") for place in missing]
            written = write(drawn, attempt)
            found = score(written)
            useless = set(self._without_signal(found))
            helped = [number for number in range(len(written)) if number not in useless]
            for number in helped:
                kept[missing[number]] = written[number]
            scores = join_scores(scores, found, {missing[number]: number for number in helped})
            missing = [place for number, place in enumerate(missing) if number in useless]
        count = max(len(rollouts), 1)
        metrics = {"resampled": (first - len(missing)) / count, "resampled/failed": len(missing) / count}
        return Resampled(kept, scores, {name: torch.full((len(rollouts),), value) for name, value in metrics.items()})

    def _without_signal(self, scores: Scores) -> list[int]:
        flat = flat_groups(scores.total)
        if self.reward_range is not None:
            means = scores.total.nanmean(1)
            flat |= ~((means >= self.reward_range[0]) & (means <= self.reward_range[1]))
        return flat.nonzero()[:, 0].tolist()

    def _draw(self, dataset: Any, seed: str) -> Mapping[str, Any]:
        return dataset[random.Random(seed).randrange(len(dataset))]
