"""KL in the reward: what a completion strays from the reference is taken off its reward, before groups are compared."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from .batch import RolloutBatch, bare_batch
from .records import Rollout, Scores, padded


KL_PENALTY = "kl_penalty"  # its name among the rewards


class KLReward:
    """Takes beta KL_i off the reward of each completion (PPO as in InstructGPT, arXiv 2203.02155; TRL's RLOOTrainer).

    KL_i = sum_t (log pi(o_t) - log pi_ref(o_t)) over the tokens of the completion (Schulman's k1), without gradient.

    Args:
        beta: weight, above 0.
        policy: log-probs (R, S) of a batch under the policy.
        reference: the same under the reference.
        device: of the batches.
    """

    def __init__(
        self,
        beta: float,
        policy: Callable[[RolloutBatch], torch.Tensor],
        reference: Callable[[RolloutBatch], torch.Tensor],
        device: torch.device,
    ) -> None:
        """Keep what scores."""
        self.beta, self.policy, self.reference, self.device = beta, policy, reference, device

    def batches(self, rollouts: Sequence[Rollout], sizes: Sequence[int]) -> list[RolloutBatch]:
        """Cut the groups into batches of so many prompts each."""
        rest = iter(rollouts)
        groups = [[next(rest) for _ in range(size)] for size in sizes]
        return [
            bare_batch([each.prompt for each in some], [each.completion_ids for each in some], device=self.device)
            for some in groups
        ]

    @torch.no_grad()
    def penalised(
        self, rollouts: Sequence[Rollout], scores: Scores, batches: Sequence[RolloutBatch]
    ) -> tuple[Scores, torch.Tensor]:
        """Return the scores with the penalty as one more reward, and the mean KL a token of each completion (N, G).

        Args:
            rollouts: N groups.
            scores: of them.
            batches: of the same groups, see `batches`.
        """
        sums: list[float] = []
        for batch in batches:
            strays = torch.where(batch.mask, self.policy(batch) - self.reference(batch), 0.0)  # (R, S)
            sums += strays.sum(1).double().tolist()
        lengths = padded(
            [[float(max(len(ids), 1)) for ids in each.completion_ids] for each in rollouts], torch.float64
        )
        rest = iter(sums)
        total = padded([[next(rest) for _ in each.completion_ids] for each in rollouts], torch.float64)  # (N, G)
        penalties = -self.beta * total
        found = replace(scores, total=scores.total + penalties, each={**scores.each, KL_PENALTY: penalties})
        return found, total / lengths
