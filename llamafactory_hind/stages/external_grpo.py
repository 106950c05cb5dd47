"""`stage: external_grpo` (Vision-EKIPL, arXiv 2506.06856): GRPO whose groups take in texts of other models.

What a policy learns from is then not bounded by what it already does.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from ..losses.policy import behavior_surrogate, clip_fractions, clipped_surrogate, group_advantages, shaped_surrogate
from ..rewards import load_rewards
from ..trainers.components import Component
from ..trainers.external_actions import ActionReader, survey
from ..trainers.external_groups import Choice, choose_groups, external_rows, metrics_by_source, source_metrics
from ..trainers.group_relative import clip_of, kl_components
from ..trainers.online_run import run_online
from ..trainers.rewarding import score_rollouts
from ..trainers.rollout_batch import POLICY, Annotation, Rollout, RolloutBatch, Scores


if TYPE_CHECKING:
    from llamafactory.hparams import DataArguments, FinetuningArguments, GeneratingArguments, ModelArguments
    from transformers import Seq2SeqTrainingArguments, TrainerCallback

    from ..engines.loading import Weights
    from ..rewards import Rewards


NO_CLIP = {"clip_low": 1.0, "clip_high": float("inf")}  # a ratio is never below 0


class ExternalGroups:
    """Vision-EKIPL seen from the trainer.

    Candidates are G completions of the policy and the external actions of the row; a group is chosen from them by reward;
    A_i = (r_i - mean(r)) / (std(r) + eps) over the group that is kept; loss = mean of -min(rho A, clip(rho) A) + kl_beta k3 with
    rho = pi / pi_old for every action, or for external ones f(pi) = pi / (pi + gamma) (LUFFY), or pi / q.
    """

    def __init__(
        self,
        rewards: "Rewards",
        finetuning_args: "FinetuningArguments",
        *,
        reader: ActionReader,
        sources: Sequence[str],
        seed: int,
    ) -> None:
        """Build the components.

        Args:
            rewards: of completions and actions alike.
            finetuning_args: with the keys of the stage.
            reader: of the rows' actions.
            sources: other models that have any, for the log.
            seed: of `external_tie_break: random`.
        """
        self.rewards, self.reader, self.sources = rewards, reader, (POLICY, *sources)
        self.scale, self.clip = finetuning_args.advantage_scale, clip_of(finetuning_args)
        self.ratio, self.gamma = finetuning_args.external_ratio, finetuning_args.external_gamma
        self.choice = Choice(
            finetuning_args.external_selection,
            finetuning_args.external_tie_break,
            finetuning_args.external_max_per_group,
            seed,
            self.ratio,
        )
        policy = Component("policy", 1.0, self.surrogate, finetuning_args.loss_reduction, metrics=self.ratio_metrics)
        self.components = [policy, *kl_components(finetuning_args)]

    def score(self, rollouts: list[Rollout]) -> Scores:
        """Reward every completion."""
        return score_rollouts(self.rewards.score, rollouts)

    def annotate(self, rollouts: list[Rollout]) -> Annotation:
        """Reward completions and actions, choose the groups, compare within them alone."""
        candidates = [self.reader.join(rollout) for rollout in rollouts]
        scores = self.score([each.rollout for each in candidates])
        kept, passed_over = choose_groups(candidates, scores, self.choice)
        compared = group_advantages(kept.scores.total, scale=self.scale)
        advantages = torch.where(kept.advantages.isnan(), kept.advantages, compared)  # NaN: the group has ended
        metrics = source_metrics(candidates, scores, kept.rollouts, advantages, self.sources)
        return replace(kept, advantages=advantages, metrics=metrics, passed_over=passed_over)

    def surrogate(
        self, logps: torch.Tensor, old_logps: torch.Tensor, ref_logps: Any, batch: RolloutBatch
    ) -> torch.Tensor:
        """Return the policy loss (R, S): GRPO's, and for external actions that of `external_ratio`."""
        losses = clipped_surrogate(logps, old_logps, batch.advantages, **self.clip)
        external = external_rows(batch)  # (R,)
        if self.ratio == "plain" or not external.any():
            return losses
        own = self.external_surrogate(logps, batch.advantages, batch, external, **self.clip)
        return losses.index_put((external,), own.to(losses.dtype))

    def external_surrogate(
        self,
        logps: torch.Tensor,
        advantages: torch.Tensor,
        batch: RolloutBatch,
        external: torch.Tensor,
        **clip: float,
    ) -> torch.Tensor:
        """Return the loss of external actions alone: -f(pi) A, which nothing clips, or the clipped -(pi / q) A."""
        logps, advantages = logps[external], advantages[external]
        if self.ratio == "shaped":
            return shaped_surrogate(logps, advantages, gamma=self.gamma)
        behavior_logps = batch.streams["behavior_logp"][external]
        return behavior_surrogate(logps, batch.mask[external], behavior_logps, advantages, **clip)

    def ratio_metrics(
        self, logps: torch.Tensor, old_logps: torch.Tensor, ref_logps: Any, batch: RolloutBatch
    ) -> dict[str, torch.Tensor]:
        """Return ratios and clipped tokens, over all and by source; for external actions, what stands in the ratio's place."""
        found = clip_fractions(logps, old_logps, batch.advantages, **self.clip)
        external = external_rows(batch)
        if self.ratio != "plain" and external.any():
            factors = -self.external_surrogate(logps, torch.ones_like(batch.advantages), batch, external, **NO_CLIP)
            clip = NO_CLIP if self.ratio == "shaped" else self.clip
            own = clip_fractions(factors.log(), torch.zeros_like(factors), batch.advantages[external], **clip)
            found = {name: all_.index_put((external,), own[name].to(all_.dtype)) for name, all_ in found.items()}
        return found | metrics_by_source(found, logps, batch)


def run(
    model_args: "ModelArguments",
    data_args: "DataArguments",
    training_args: "Seq2SeqTrainingArguments",
    finetuning_args: "FinetuningArguments",
    generating_args: "GeneratingArguments",
    callbacks: "list[TrainerCallback] | None" = None,
) -> None:
    """Rewards, prompts and their actions, model, training, evaluation, model card."""
    rewards = load_rewards(
        finetuning_args.reward_funcs, finetuning_args.reward_weights, timeout=finetuning_args.reward_timeout
    )
    found: Counter[str] = Counter()

    def check_actions(dataset: Any) -> None:
        found.update(survey(dataset, needs_logprob=finetuning_args.external_ratio == "behavior"))

    def annotator(weights: "Weights") -> ExternalGroups:
        reader = ActionReader(weights, max_new_tokens=generating_args.max_new_tokens)
        return ExternalGroups(rewards, finetuning_args, reader=reader, sources=sorted(found), seed=training_args.seed)

    arguments = (model_args, data_args, training_args, finetuning_args, generating_args, callbacks)
    run_online(rewards, annotator, *arguments, check_dataset=check_actions)
