"""The rollouts of one optimiser step: written, rewarded, compared and turned into micro-batches."""

from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object

from ...engines.vllm.agreement import ServersFailed
from ..host import HostTrainer
from ..row_guard import NOT_OF_A_ROW, RowGuard
from .annotator import Annotator, TokenObjective
from .batch import RolloutBatch, batch_of
from .components import Component
from .kl_reward import KLReward
from .log import RolloutLog
from .modes import ModeSelection
from .parts import score_with
from .prompt_inputs import PromptInputs
from .records import Rollout, Scores
from .reference import Reference
from .scoring import GroupScorer, check_objective
from .writing import RolloutGenerator, RolloutOptions


if TYPE_CHECKING:
    from ...engines.local.towers import TowerCache
    from ...engines.open import RolloutEngines
    from .ahead import AheadWriter


class StepRollouts(HostTrainer):
    """The part of the rollout trainer that makes what a step learns from; `RolloutTrainer` sets its attributes and learns.

    Attributes:
        annotator: the method.
        components: of the loss, those with a weight.
        objective: of the annotator.
        options: of the rollouts.
        engines: that write.
        generator: writes groups.
        ahead: writes for the step to come; None where that is off.
        guard: names prompts that cannot be read, or puts others in their place.
        scorer: of the policy.
        reference: what KL holds the policy to.
        reference_scorer: of the reference.
        needs_reference: whether a component of the loss does.
        kl_reward: takes the KL off the rewards; None where the loss has it or nothing does.
        modes: proves how log-probs are computed.
        prompt_inputs: remembers the inputs of the step's prompts.
        media: remembers what the towers made of their pictures.
        rollout_log: what is shown of it.
    """

    annotator: Annotator
    components: list[Component]
    objective: TokenObjective | None
    options: RolloutOptions
    engines: "RolloutEngines"
    generator: RolloutGenerator
    ahead: "AheadWriter | None"
    guard: RowGuard | None
    scorer: GroupScorer
    reference: Reference | None
    reference_scorer: GroupScorer
    needs_reference: bool
    kl_reward: KLReward | None
    modes: ModeSelection
    prompt_inputs: PromptInputs
    media: "TowerCache"
    rollout_log: RolloutLog
    _on_policy = False  # a server's rollouts are of the weights as they are now

    def _generate_rollouts(self, prompts: list[list[dict[str, Any]]]) -> list[RolloutBatch]:
        """Write, reward and prepare the groups of all micro-batches of a step."""
        features = [feature for some in prompts for feature in some]
        self.annotator.at(self.state.global_step / max(self.state.max_steps - 1, 1))
        self._forget_media()
        rollouts = self._written(features)
        rollouts, scores = self._replace_without_signal(rollouts)
        if self.kl_reward is not None:
            scores = [self._less_kl(self.kl_reward, rollouts, scores, [len(some) for some in prompts])]
        with self.rollout_log.timed("reward"):
            annotation = self.annotator.annotate(rollouts, *scores)
        self.rollout_log.add(annotation, self.state)
        batches, start = [], 0
        for some in prompts:
            part = annotation.part(slice(start, start + len(some)))
            batches.append(batch_of(part, device=self.args.device))
            start += len(some)
        self._normalise(batches)
        if self.modes.repeat(self.model, batches):
            check_objective(self.objective, self.scorer, self.model)
        if self.needs_reference:
            with self.rollout_log.timed("reference"):
                for batch in batches:
                    batch.ref_logps = self._reference_logps(batch)
        if self.annotator.before_learning is not None:
            with self.rollout_log.timed("teacher"), torch.no_grad(), self.precision(), self.media.active():
                self.annotator.before_learning(batches)
        return batches

    def _written(self, features: list[dict[str, Any]]) -> list[Rollout]:
        """Return the groups of this step, from the weights of now or, where they were written ahead, of the step before."""
        step, rollouts = self.state.global_step, None
        if self.ahead is not None and self.ahead.has(step, features):
            with self.rollout_log.timed("rollout"):
                rollouts = self.ahead.take(features)
        self._sync_engines()
        self._on_policy = self._on_policy and rollouts is None
        if rollouts is None:
            with self.rollout_log.timed("rollout"), self.precision(), self.media.active():
                rollouts = self._write(features, stream=str(step), on_generated=self._report_progress)
        if self.ahead is not None and step + 1 < self.state.max_steps:
            self.ahead.start(step + 1)
        return rollouts

    def _write_ahead(self, features: list[Any], step: int) -> list[Rollout]:
        """Write for a step to come, in another thread: no model is touched."""
        return self._write(features, stream=str(step), on_generated=self._report_progress)

    def _sync_engines(self) -> None:
        """Give a server the weights of this step."""
        report = self.engines.sync(self.model, step=self.state.global_step)
        self._on_policy = report is not None
        if report is not None:
            self.rollout_log.averages.add("rollout/sync_seconds", report.seconds)
            self.rollout_log.averages.add("rollout/version", float(report.version))

    def _write(self, features: list[Any], **options: Any) -> list[Rollout]:
        """Write a group for each row; a row that cannot be read is named, or another one takes its place."""
        try:
            return self.generator.generate(features, **options)
        except (*NOT_OF_A_ROW, ServersFailed):
            raise
        except Exception as error:
            if self.guard is None:
                raise
            good = self.guard.replace(features, error)
        if self.engines.served is None:
            self._forget_media()
        return self.generator.generate(good, **options)

    def _replace_without_signal(self, rollouts: list[Rollout]) -> tuple[list[Rollout], list[Scores]]:
        """Write for other prompts where a group teaches nothing; return the scores beside, where they were needed."""
        if self.annotator.resampling is None:
            return rollouts, []
        step = self.state.global_step

        def write(features: list[Any], attempt: int) -> list[Rollout]:
            with self.rollout_log.timed("resampling"), self.precision(), self.media.active():
                return self._write(features, stream=f"{step}/resampled {attempt}")

        found = self.annotator.resampling.replace(
            rollouts, self.train_dataset, seed=f"{self.args.seed}/{step}", write=write, score=self.annotator.score
        )
        for name, values in found.metrics.items():
            self.rollout_log.averages.add_values(name, values)
        return found.rollouts, [found.scores]

    def _less_kl(self, kl: KLReward, rollouts: list[Rollout], scores: list[Scores], sizes: list[int]) -> Scores:
        """Take the KL from the reference off the rewards."""
        if not scores:
            with self.rollout_log.timed("reward"):
                scores = [self.annotator.score(rollouts)]
        batches = kl.batches(rollouts, sizes)
        self.modes.repeat(self.model, batches)
        with self.rollout_log.timed("reference"):
            penalised, strays = kl.penalised(rollouts, scores[0], batches)
        self.rollout_log.averages.add_values("kl", strays)
        return penalised

    def _normalise(self, batches: list[RolloutBatch]) -> None:
        """Count what each component's sum is divided by, over all micro-batches and processes."""
        length = self.options.max_new_tokens
        counts = [sum(part.count(batch, length=length) for batch in batches) for part in self.components]
        if self.args.world_size > 1:  # as numbers: float32 would round them, and not every device has float64
            counts = [sum(column) for column in zip(*gather_object([counts]), strict=True)]
        names = [component.name for component in self.components]
        for batch in batches:
            batch.normalisers = dict(zip(names, counts, strict=True))

    def _forget_media(self) -> None:
        """Release the pictures of the last prompts, and of what the towers made of them."""
        self.prompt_inputs.clear()
        self.media.clear()
        if self.objective is not None:
            self.objective.clear()

    def _policy_logps(self, batch: RolloutBatch) -> torch.Tensor:
        with torch.no_grad(), self.precision(), self.media.active():
            return score_with(None, self.scorer, self.model, batch, rows_at_once=self.options.rows_at_once)[0]

    def _reference_logps(self, batch: RolloutBatch) -> torch.Tensor:
        with self.reference.active(self.args.device) as model, self.precision(), self.media.active():
            return score_with(None, self.reference_scorer, model, batch, rows_at_once=self.options.rows_at_once)[0]

    def _report_progress(self, completions: int) -> None:
        """Show that more completions of this step are written."""
        steps = self.state.max_steps - self.state.global_step
        self.rollout_log.progress.advance(
            completions,
            step=self.state.global_step + 1,
            rollouts=-(-steps // self.options.num_iterations),
            shown=not self.args.disable_tqdm and self.is_world_process_zero(),
        )
