"""`stage: gated_distill`: quality-gated on-policy distillation with teacher hints (Knowledge-Enhanced PO, arXiv 2602.00400).

A teacher's distributions teach where the student has found a good answer; where it found none, a teacher's hint helps it find one.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from llamafactory.extras import logging

from ..engines.teachers.run import TeacherRun
from ..methods.comparison import GroupComparison
from ..methods.distillation.divergence import Distillation
from ..methods.distillation.gate import GATE, MONITORED, Gate, distill_component
from ..methods.distillation.steps import LineSegments
from ..methods.entropy import entropy_components, entropy_controls, with_entropy
from ..methods.external.metrics import source_metrics
from ..methods.external.ratio import ExternalRatio
from ..methods.external.selection import SelectionRule, select_groups
from ..methods.group_relative import kl_components
from ..methods.hints.candidates import HINTED
from ..methods.hints.explorer import HintExplorer
from ..methods.hints.options import HintOptions
from ..methods.hints.prompts import check_rows
from ..rewards import load_rewards
from ..trainers.host import HostArguments, precision_of
from ..trainers.rollouts.annotator import Annotator
from ..trainers.rollouts.records import POLICY, Annotation, Rollout, Scores
from ..trainers.rollouts.rewards import score_rollouts
from ..trainers.rollouts.run import run_online
from ..trainers.rollouts.writing import RolloutOptions


if TYPE_CHECKING:
    from llamafactory.hparams import FinetuningArguments

    from ..engines.local.weights import LoadedModel
    from ..engines.open import RolloutEngines
    from ..engines.teachers.pool import TeacherPool
    from ..rewards import Rewards


logger = logging.get_logger("llamafactory.hind.stages.gated_distill")


class GatedDistillation(Annotator):
    """Knowledge-Enhanced PO seen from the trainer.

    Where no completion of a prompt is right, right ones that the student wrote with a hint take the places of the worst, under the
    prompt without it. A_i = (r_i - mean(r)) / (std(r) + eps) over the group as it is then; m_i = 1[gate reward >= threshold];
    loss = rl_weight L_policy + distill_weight sum_i m_i D(pi_T, pi) / sum_i m_i (tokens) + kl_beta k3.
    """

    def __init__(
        self,
        rewards: "Rewards",
        finetuning_args: "FinetuningArguments",
        *,
        comparison: GroupComparison,
        gate: Gate,
        teachers: "TeacherPool | None",
        segments: LineSegments | None,
        explorer: HintExplorer | None,
        seed: int,
    ) -> None:
        """Build the components.

        Args:
            rewards: of the student's completions, hinted ones as well.
            finetuning_args: with the keys of the stage.
            comparison: of completions within their groups.
            gate: says which completions are distilled, and which are right.
            teachers: give distributions; None distils nothing.
            segments: steps of completions, for `step_weighting`; None weighs all tokens alike.
            explorer: finds hinted completions; None looks for none.
            seed: of the run.
        """
        self.rewards, self.comparison = rewards, comparison
        self.gate, self.explorer = gate, explorer
        self.record = {"gate": gate.record()}
        self.choice = SelectionRule(
            "replace_worst", "policy_first", finetuning_args.hint_samples, seed, finetuning_args.external_ratio
        )
        self.distillation: Distillation | None = None
        self.components = [ExternalRatio(finetuning_args).component(finetuning_args.rl_weight)]
        if teachers is not None:
            self.distillation = Distillation(
                teachers,
                rows=lambda batch: (batch.streams[GATE] + batch.streams[MONITORED]) > 0,
                beta=finetuning_args.distill_beta,
                temperature=finetuning_args.distill_temperature,
                logps_temperature=None if segments is None else finetuning_args.rollout_temperature,
                share_prefix=finetuning_args.share_prefix,
                states_dtype=torch.bfloat16 if finetuning_args.teacher_states == "bf16" else None,
            )
            if finetuning_args.teacher_pass == "step":
                self.before_learning = self.distillation.prepare_step
            self.components.append(distill_component(finetuning_args.distill_weight, segments))
        self.controls = entropy_controls(finetuning_args)
        self.objective = with_entropy(finetuning_args, self.distillation)
        self.components += [*kl_components(finetuning_args), *entropy_components(finetuning_args, self.controls)]

    def at(self, share: float) -> None:
        """Weigh the rewards as when this share of the training is done."""
        self.comparison.at(share)

    def score(self, rollouts: list[Rollout]) -> Scores:
        """Reward every completion."""
        return self.comparison.penalised(score_rollouts(self.rewards.score, rollouts), rollouts)

    def annotate(self, rollouts: list[Rollout]) -> Annotation:
        """Reward, explore with hints, compare within the groups as they are then, open the gate."""
        kept = Annotation(rollouts, self.score(rollouts), torch.empty(0))
        if self.explorer is not None:
            kept = self._explored(self.explorer, kept)
        kept = self.comparison.teaching(replace(kept, advantages=self.comparison.advantages(kept.scores)))
        streams, metrics = self.gate.streams(kept)
        if self.distillation is not None:
            streams |= self.distillation.streams(kept.rollouts)
        return replace(kept, streams={**kept.streams, **streams}, metrics={**kept.metrics, **metrics})

    def _explored(self, explorer: HintExplorer, written: Annotation) -> Annotation:
        """Return the groups with hinted completions in the places of the worst."""
        found = explorer.explore(written.rollouts, written.scores)
        kept, discarded = select_groups(found.candidates, found.scores, self.choice)
        advantages = self.comparison.advantages(kept.scores)
        sources = source_metrics(found.candidates, found.scores, kept.rollouts, advantages, (POLICY, HINTED))
        metrics = {name: values for name, values in sources.items() if name.startswith("source/")}
        notes = [{"hints": trials} for trials in found.trials]
        return replace(kept, metrics={**metrics, **found.metrics}, discarded=discarded, notes=notes)


def run(args: HostArguments) -> None:
    """Teachers and rewards checked, prompts, model, teachers, training, evaluation, model card."""
    keys, training = args.finetuning, args.training
    hints, options = HintOptions.of(args), RolloutOptions.of(args)
    explores = hints.samples > 0 and training.do_train
    teaching = TeacherRun(
        keys.teacher, args.model, args.data, training, distributions=keys.distill_weight > 0, texts=explores
    )
    rewards = load_rewards(keys.reward_funcs, keys.reward_weights, timeout=keys.reward_timeout)
    comparison = GroupComparison(keys, rewards.weights, args.generating.max_new_tokens)
    gate = Gate(keys.gate_reward, keys.gate_threshold, rewards.names)

    def check_dataset(dataset: Any) -> None:
        teaching.check_dataset(dataset)
        if explores:
            has_hints = check_rows(dataset, hints.prompts, has_teacher=teaching.plan is not None)
            if teaching.plan is None and not has_hints:
                logger.warning_rank0(
                    "No `teacher`, and no row has a `hint`: prompts without success are not explored."
                )

    def annotator(loaded: "LoadedModel", engines: "RolloutEngines") -> GatedDistillation:
        teachers, explorer = teaching.open(loaded), None
        if explores:
            explorer = HintExplorer(
                loaded,
                teachers,
                teaching.cache("hints"),
                engine=engines.open(batch_size=options.prompts_at_once(hints.prompts_at_once)),
                score=lambda rollouts: comparison.penalised(score_rollouts(rewards.score, rollouts), rollouts),
                success=gate.right,
                rollouts=options,
                hints=hints,
                precision=lambda: precision_of(training),
            )
        return GatedDistillation(
            rewards,
            keys,
            comparison=comparison,
            gate=gate,
            teachers=teachers if teaching.distributions else None,
            segments=LineSegments(loaded.tokenizer) if keys.step_weighting else None,
            explorer=explorer,
            seed=training.seed,
        )

    try:
        run_online(rewards, annotator, args, check_dataset=check_dataset)
    finally:
        teaching.close()
