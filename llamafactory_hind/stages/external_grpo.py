"""`stage: external_grpo` (Vision-EKIPL, arXiv 2506.06856): GRPO whose groups take in texts of other models.

What a policy learns from is then not bounded by what it already does.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from llamafactory.extras import logging

from ..engines.teachers.run import TeacherRun
from ..methods.comparison import GroupComparison
from ..methods.entropy import entropy_components, entropy_controls, with_entropy
from ..methods.external.actions import ActionReader, check_rows
from ..methods.external.live import LiveActions, failed
from ..methods.external.metrics import source_metrics
from ..methods.external.ratio import ExternalRatio
from ..methods.external.selection import SelectionRule, select_groups
from ..methods.group_relative import kl_components
from ..rewards import load_rewards
from ..trainers.host import HostArguments
from ..trainers.rollouts.annotator import Annotator
from ..trainers.rollouts.records import POLICY, Annotation, Rollout, Scores
from ..trainers.rollouts.rewards import score_rollouts
from ..trainers.rollouts.run import run_online


if TYPE_CHECKING:
    from llamafactory.hparams import FinetuningArguments

    from ..engines.local.weights import LoadedModel
    from ..engines.open import RolloutEngines
    from ..rewards import Rewards


logger = logging.get_logger("llamafactory.hind.stages.external_grpo")


class ExternalGroups(Annotator):
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
        live: LiveActions | None = None,
        sources: Sequence[str],
        seed: int,
    ) -> None:
        """Build the components.

        Args:
            rewards: of completions and actions alike.
            finetuning_args: with the keys of the stage.
            reader: of the actions.
            live: asks for more than the rows have.
            sources: other models that have any, for the log.
            seed: of `external_tie_break: random`.
        """
        self.rewards, self.reader, self.live, self.sources = rewards, reader, live, (POLICY, *sources)
        self.comparison = GroupComparison(finetuning_args, rewards.weights, reader.max_new_tokens)
        self.choice = SelectionRule(
            finetuning_args.external_selection,
            finetuning_args.external_tie_break,
            finetuning_args.external_max_per_group,
            seed,
            finetuning_args.external_ratio,
        )
        self.controls = entropy_controls(finetuning_args)
        self.objective = with_entropy(finetuning_args)
        self.components = [
            ExternalRatio(finetuning_args).component(),
            *kl_components(finetuning_args),
            *entropy_components(finetuning_args, self.controls),
        ]

    def at(self, share: float) -> None:
        """Weigh the rewards as when this share of the training is done."""
        self.comparison.at(share)

    def score(self, rollouts: list[Rollout]) -> Scores:
        """Reward every completion."""
        return self.comparison.penalised(score_rollouts(self.rewards.score, rollouts), rollouts)

    def annotate(self, rollouts: list[Rollout]) -> Annotation:
        """Reward completions and actions, choose the groups, compare within them alone."""
        more = [[] for _ in rollouts] if self.live is None else self.live.entries(rollouts)
        candidates = [self.reader.join(rollout, entries) for rollout, entries in zip(rollouts, more, strict=True)]
        scores = self.score([each.rollout for each in candidates])
        kept, discarded = select_groups(candidates, scores, self.choice)
        compared = self.comparison.advantages(kept.scores)
        advantages = torch.where(kept.advantages.isnan(), kept.advantages, compared)  # NaN: the group has ended
        metrics = source_metrics(candidates, scores, kept.rollouts, advantages, self.sources)
        if self.live is not None:
            metrics["external/unanswered"] = failed(more)
        return self.comparison.teaching(replace(kept, advantages=advantages, metrics=metrics, discarded=discarded))


def run(args: HostArguments) -> None:
    """Rewards, prompts and their actions, model, other models, training, evaluation, model card."""
    keys = args.finetuning
    others = TeacherRun(keys.external_teacher, args.model, args.data, args.training, distributions=False, texts=True)
    rewards = load_rewards(keys.reward_funcs, keys.reward_weights, timeout=keys.reward_timeout)
    found: Counter[str] = Counter()

    def check_actions(dataset: Any) -> None:
        needs_logprob = keys.external_ratio == "behavior"
        found.update(check_rows(dataset, needs_logprob=needs_logprob, temperature=keys.rollout_temperature))
        others.check_dataset(dataset)
        if not found and others.plan is None:
            logger.warning_rank0("No row has actions in the column `external`: this run is plain GRPO.")

    def annotator(loaded: "LoadedModel", engines: "RolloutEngines") -> ExternalGroups:
        reader = ActionReader(loaded, max_new_tokens=args.generating.max_new_tokens)
        teachers, live = others.open(loaded), None
        if teachers is not None:
            live = LiveActions(
                teachers,
                cache=others.cache("actions"),
                samples=keys.external_samples,
                temperature=keys.external_temperature,
                max_new_tokens=args.generating.max_new_tokens,
                seed=args.training.seed,
            )
        sources = sorted({*found, *(live.names.values() if live else ())})
        return ExternalGroups(rewards, keys, reader=reader, live=live, sources=sources, seed=args.training.seed)

    try:
        run_online(rewards, annotator, args, check_dataset=check_actions)
    finally:
        others.close()
