"""`stage: grpo`, group-relative policy optimization (arXiv 2402.03300).

The policy writes G completions of a prompt, rewards compare them with each other, and what did better than its group becomes
likelier.
"""

from functools import partial
from typing import TYPE_CHECKING

from ..methods.comparison import GroupComparison
from ..methods.entropy import entropy_components, entropy_controls, with_entropy
from ..methods.group_relative import kl_components, policy_component
from ..methods.temporal_contrast import TemporalContrast, TemporalOptions, check_clips
from ..rewards import load_rewards
from ..trainers.host import HostArguments, precision_of
from ..trainers.rollouts.annotator import Annotator
from ..trainers.rollouts.records import Annotation, Rollout, Scores
from ..trainers.rollouts.resampling import DynamicSampling
from ..trainers.rollouts.rewards import score_rollouts
from ..trainers.rollouts.run import run_online
from ..trainers.rollouts.writing import RolloutOptions


if TYPE_CHECKING:
    from llamafactory.hparams import FinetuningArguments

    from ..engines.local.weights import LoadedModel
    from ..engines.open import RolloutEngines
    from ..rewards import Rewards


class GroupRelative(Annotator):
    """GRPO seen from the trainer: rewards, advantages within the group, clipped surrogate and KL.

    A_i = (r_i - mean(r)) / (std(r) + eps) over the G completions of a prompt, or without the division;
    loss = mean of -min(rho A, clip(rho, 1 - clip_low, 1 + clip_high) A) + kl_beta k3(pi, pi_ref).
    """

    def __init__(
        self,
        rewards: "Rewards",
        finetuning_args: "FinetuningArguments",
        *,
        max_new_tokens: int | None = None,
        contrast: TemporalContrast | None = None,
    ) -> None:
        """Build the components; a `kl_beta` of 0 leaves the reference out.

        Args:
            rewards: of completions.
            finetuning_args: with the keys of the stage.
            max_new_tokens: length at which completions are cut.
            contrast: rewards answers that need the order of frames; None where that is off.
        """
        self.rewards, self.contrast = rewards, contrast
        self.comparison = GroupComparison(finetuning_args, rewards.weights, max_new_tokens)
        self.resampling = DynamicSampling.of(finetuning_args)
        self.controls = entropy_controls(finetuning_args)
        self.objective = with_entropy(finetuning_args)
        self.kl_in_reward = finetuning_args.kl_beta if finetuning_args.kl_in_reward else 0.0
        self.components = [
            policy_component(finetuning_args),
            *kl_components(finetuning_args),
            *entropy_components(finetuning_args, self.controls),
        ]

    def at(self, share: float) -> None:
        """Weigh the rewards as when this share of the training is done."""
        self.comparison.at(share)

    def score(self, rollouts: list[Rollout]) -> Scores:
        """Reward every completion."""
        return self.comparison.penalised(score_rollouts(self.rewards.score, rollouts), rollouts)

    def annotate(self, rollouts: list[Rollout], scores: Scores | None = None) -> Annotation:
        """Reward every completion, unless it is done, and compare it with its group."""
        scores, metrics = scores or self.score(rollouts), {}
        if self.contrast is not None:
            scores, metrics = self.contrast.rewarded(rollouts, scores)
        advantages = self.comparison.advantages(scores)
        return self.comparison.teaching(Annotation(rollouts, scores, advantages, metrics=metrics))


def run(args: HostArguments) -> None:
    """Rewards, prompts, model, training, evaluation, model card."""
    keys, options = args.finetuning, RolloutOptions.of(args)
    rewards = load_rewards(keys.reward_funcs, keys.reward_weights, timeout=keys.reward_timeout)
    length = args.generating.max_new_tokens

    def annotator(loaded: "LoadedModel", engines: "RolloutEngines") -> GroupRelative:
        contrast = None
        if keys.temporal_weight and args.training.do_train:
            contrast = TemporalContrast(
                TemporalOptions.of(keys),
                engine=engines.open(batch_size=options.prompts_at_once(args.training.per_device_train_batch_size)),
                sampling=options.sampling(args.training.seed),
                score=partial(score_rollouts, rewards.score),
                precision=lambda: precision_of(args.training),
            )
        return GroupRelative(rewards, keys, max_new_tokens=length, contrast=contrast)

    check_dataset = check_clips if keys.temporal_weight else lambda dataset: None
    run_online(rewards, annotator, args, check_dataset=check_dataset)
