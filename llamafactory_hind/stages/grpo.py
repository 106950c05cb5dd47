"""`stage: grpo`, group-relative policy optimization (arXiv 2402.03300).

The policy writes G completions of a prompt, rewards compare them with each other, and what did better than its group becomes
likelier.
"""

from typing import TYPE_CHECKING

from ..losses.policy import group_advantages
from ..methods.group_relative import kl_components, policy_component
from ..rewards import load_rewards
from ..trainers.rollouts.batch import Annotation, Rollout, Scores
from ..trainers.rollouts.rewards import score_rollouts
from ..trainers.rollouts.run import run_online


if TYPE_CHECKING:
    from llamafactory.hparams import DataArguments, FinetuningArguments, GeneratingArguments, ModelArguments
    from transformers import Seq2SeqTrainingArguments, TrainerCallback

    from ..rewards import Rewards


class GroupRelative:
    """GRPO seen from the trainer: rewards, advantages within the group, clipped surrogate and KL.

    A_i = (r_i - mean(r)) / (std(r) + eps) over the G completions of a prompt, or without the division;
    loss = mean of -min(rho A, clip(rho, 1 - clip_low, 1 + clip_high) A) + kl_beta k3(pi, pi_ref).
    """

    def __init__(self, rewards: "Rewards", finetuning_args: "FinetuningArguments") -> None:
        """Build the components; a `kl_beta` of 0 leaves the reference out."""
        self.rewards = rewards
        self.scale = finetuning_args.advantage_scale
        self.components = [policy_component(finetuning_args), *kl_components(finetuning_args)]

    def score(self, rollouts: list[Rollout]) -> Scores:
        """Reward every completion."""
        return score_rollouts(self.rewards.score, rollouts)

    def annotate(self, rollouts: list[Rollout]) -> Annotation:
        """Reward every completion and compare it with its group."""
        scores = self.score(rollouts)
        return Annotation(rollouts, scores, group_advantages(scores.total, scale=self.scale))


def run(
    model_args: "ModelArguments",
    data_args: "DataArguments",
    training_args: "Seq2SeqTrainingArguments",
    finetuning_args: "FinetuningArguments",
    generating_args: "GeneratingArguments",
    callbacks: "list[TrainerCallback] | None" = None,
) -> None:
    """Rewards, prompts, model, training, evaluation, model card."""
    rewards = load_rewards(
        finetuning_args.reward_funcs, finetuning_args.reward_weights, timeout=finetuning_args.reward_timeout
    )
    arguments = (model_args, data_args, training_args, finetuning_args, generating_args, callbacks)
    run_online(rewards, lambda weights: GroupRelative(rewards, finetuning_args), *arguments)
