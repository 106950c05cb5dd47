"""`stage: grpo`, group-relative policy optimization (arXiv 2402.03300).

The policy writes G completions of a prompt, rewards compare them with each other, and what did better than its group becomes
likelier.
"""

from typing import TYPE_CHECKING

from ..methods.comparison import GroupComparison
from ..methods.group_relative import kl_components, policy_component
from ..rewards import load_rewards
from ..trainers.host import HostArguments
from ..trainers.rollouts.annotator import Annotator
from ..trainers.rollouts.records import Annotation, Rollout, Scores
from ..trainers.rollouts.resampling import DynamicSampling
from ..trainers.rollouts.rewards import score_rollouts
from ..trainers.rollouts.run import run_online


if TYPE_CHECKING:
    from llamafactory.hparams import FinetuningArguments

    from ..rewards import Rewards


class GroupRelative(Annotator):
    """GRPO seen from the trainer: rewards, advantages within the group, clipped surrogate and KL.

    A_i = (r_i - mean(r)) / (std(r) + eps) over the G completions of a prompt, or without the division;
    loss = mean of -min(rho A, clip(rho, 1 - clip_low, 1 + clip_high) A) + kl_beta k3(pi, pi_ref).
    """

    def __init__(
        self, rewards: "Rewards", finetuning_args: "FinetuningArguments", *, max_new_tokens: int | None = None
    ) -> None:
        """Build the components; a `kl_beta` of 0 leaves the reference out."""
        self.rewards = rewards
        self.comparison = GroupComparison(finetuning_args, rewards.weights, max_new_tokens)
        self.resampling = DynamicSampling.of(finetuning_args)
        self.components = [policy_component(finetuning_args), *kl_components(finetuning_args)]

    def score(self, rollouts: list[Rollout]) -> Scores:
        """Reward every completion."""
        return self.comparison.penalised(score_rollouts(self.rewards.score, rollouts), rollouts)

    def annotate(self, rollouts: list[Rollout], scores: Scores | None = None) -> Annotation:
        """Reward every completion, unless it is done, and compare it with its group."""
        scores = scores or self.score(rollouts)
        return self.comparison.teaching(Annotation(rollouts, scores, self.comparison.advantages(scores)))


def run(args: HostArguments) -> None:
    """Rewards, prompts, model, training, evaluation, model card."""
    keys = args.finetuning
    rewards = load_rewards(keys.reward_funcs, keys.reward_weights, timeout=keys.reward_timeout)
    length = args.generating.max_new_tokens
    run_online(rewards, lambda loaded, engines: GroupRelative(rewards, keys, max_new_tokens=length), args)
