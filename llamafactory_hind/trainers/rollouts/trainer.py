"""A training loop over groups of completions that knows no method: a stage hands in an annotator and its loss components.

One optimiser step: write the groups of all its prompts, let the annotator reward them, then learn from them micro-batch by
micro-batch, `num_iterations` times. Every number depends on seed, rows and step alone, not on the split into micro-batches or
processes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...engines.local.scoring import base_model, computes_in_half
from ...engines.local.sharded import whole
from ...engines.local.towers import TowerCache, share_frozen
from ...engines.vllm.agreement import check_difference
from ...losses.reduce import masked_sum
from ...storage.completion_files import FOLDER
from ..host import dropout_off
from ..row_guard import RowGuard
from ..sharding import refuse_sharding
from .ahead import AheadWriter
from .annotator import Annotator
from .batch import RolloutBatch, prompt_of
from .checkpoint import choose_best_by_reward, load_batches, save_batches
from .completions import CompletionLog
from .control import Controls
from .description import RunDescription
from .entries import EntryMaker
from .evaluation import EvaluatedRollouts
from .kl_reward import KLReward
from .log import RolloutLog
from .modes import ModeSelection
from .order import BlockSampler, SetEpoch, curriculum_ranks
from .parts import score_with
from .progress import CloseRollouts, WritingProgress
from .prompt_inputs import PromptInputs
from .proof import proof_batches, representative_rows_of
from .records import POLICY
from .reference import Reference
from .scoring import GroupScorer, check_objective
from .writing import RolloutGenerator, RolloutOptions


if TYPE_CHECKING:
    from llamafactory.hparams import FinetuningArguments

    from ...engines.local.weights import LoadedModel
    from ...engines.open import RolloutEngines


class PromptRows:
    """Processed rows from the data loader; wrapped, so that no code moves or pins their lists of numbers."""

    def __init__(self, features: list[dict[str, Any]]) -> None:
        """Keep the rows."""
        self.features = features


class RolloutTrainer(EvaluatedRollouts):
    """`transformers.Trainer` whose batches are prompts; `per_device_train_batch_size` counts prompts with their whole groups.

    The loss of an optimiser step is the sum of the annotator's components, each normalised over the completions of all
    micro-batches and processes.
    """

    def __init__(
        self,
        *,
        annotator: Annotator,
        options: RolloutOptions,
        loaded: "LoadedModel",
        engines: "RolloutEngines",
        reference: torch.nn.Module | None,
        finetuning_args: "FinetuningArguments",
        guard: RowGuard | None = None,
        described: RunDescription | None = None,
        **kwargs: Any,
    ) -> None:
        """Build the trainer; dropout is off, so that what is scored is what has written.

        Args:
            annotator: the method.
            options: of the rollouts.
            loaded: the policy with its tokenizer, processor and template.
            engines: write with it; those that the annotator opened are among them.
            reference: another model that KL holds the policy to; None is the policy with its adapter off.
            finetuning_args: the host's.
            guard: names prompts that cannot be read, or puts others in their place; None lets their errors through.
            described: what readers of its completions must know of the run; None tells them nothing.
            kwargs: of `transformers.Trainer`.
        """
        dropout_off(loaded.model)
        super().__init__(model=loaded.model, data_collator=PromptRows, **kwargs)
        refuse_sharding(self.accelerator, "prompts")
        self.annotator, self.options, self.loaded = annotator, options, loaded
        self.objective = annotator.objective
        self.components = [component for component in annotator.components if component.weight]
        self.needs_reference = any(component.needs_reference for component in self.components)
        holds = self.needs_reference or annotator.kl_in_reward > 0
        self.controls = Controls(annotator.controls, self.args.world_size)
        if not self.components:
            raise ValueError("Every component of the loss has weight 0: there is nothing to learn.")
        self.reference = Reference(self.model, reference) if holds else None
        self.finetuning_args, self.guard = finetuning_args, guard
        self.model_accepts_loss_kwargs = True  # components normalise over the whole step themselves
        # DeepSpeed changes the dtype of what it wraps, FSDP splits it
        if reference is not None and not self.is_deepspeed_enabled and not self.is_fsdp_enabled:
            share_frozen(base_model(self.model), base_model(reference))
        self.prompt_inputs = PromptInputs(loaded)
        self.media = TowerCache(self.model, *([] if reference is None else [reference]))
        self.engines = engines
        engine = engines.open(
            batch_size=options.prompts_at_once(self.args.per_device_train_batch_size),
            collate_prompts=self.prompt_inputs,
        )
        self.generator = RolloutGenerator(engine, options, seed=self.args.seed)
        if engines.served is not None:
            rows = representative_rows_of(self.train_dataset, self.eval_dataset)
            prompts = [prompt_of(row) for row in (rows if guard is None else guard.good(rows))]
            engines.served.probe_with(prompts, self.precision)
        self.scorer = self._scorer()
        # another model may have another head, or not take what the policy takes
        self.reference_scorer = self.scorer if self.reference is None or reference is None else self._scorer()
        self.modes = ModeSelection(self.args, self.accelerator, self.scorer, self.reference, self.reference_scorer)
        self.kl_reward = None
        if annotator.kl_in_reward:
            self.kl_reward = KLReward(
                annotator.kl_in_reward, self._policy_logps, self._reference_logps, self.args.device
            )
        choose_best_by_reward(self.args, self.eval_dataset)
        self.ahead = AheadWriter(self._write_ahead, process=self.args.process_index) if options.ahead else None
        self._block: list[RolloutBatch] = []
        self._block_rows: list[list[str]] = []
        prompts = self.args.train_batch_size * self.args.gradient_accumulation_steps
        completions = CompletionLog(
            Path(self.args.output_dir) / FOLDER,
            EntryMaker(
                loaded.tokenizer,
                self.args.process_index,
                None if described is None else described.media_dir,
                None if described is None else described.boxes,
            ),
            self.args.process_index,
            {} if described is None else {**described.record, **annotator.record},
        )
        self.rollout_log = RolloutLog(self.args, completions, WritingProgress(prompts * options.num_generations))
        self.add_callback(CloseRollouts(self.close_rollouts))
        self.processor = loaded.processor

    def _scorer(self) -> GroupScorer:
        return GroupScorer(
            self.loaded,
            temperature=self.options.temperature,
            share_prefix=self.options.share_prefix,
            collate_prompts=self.prompt_inputs,
        )

    # prompts in blocks

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> BlockSampler:
        sampler = BlockSampler(
            len(self.train_dataset),
            block=self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size,
            repeats=self.options.num_iterations,
            seed=self.args.seed if self.args.data_seed is None else self.args.data_seed,
            shuffle=not self.finetuning_args.disable_shuffling,
            ranks=curriculum_ranks(self.train_dataset, self.finetuning_args.curriculum_column),
        )
        self.add_callback(SetEpoch(sampler))
        return sampler

    def get_batch_samples(
        self, epoch_iterator: Iterator[PromptRows], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], torch.Tensor | None]:
        """Turn the prompts of one optimiser step into rollouts, or take those of the last step once more."""
        with whole(self.model):
            return self._batch_samples(epoch_iterator, num_batches, device)

    def _batch_samples(
        self, epoch_iterator: Iterator[PromptRows], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], torch.Tensor | None]:
        if self.ahead is None:
            prompts = [batch.features for _, batch in zip(range(num_batches), epoch_iterator, strict=False)]
        else:
            prompts = self.ahead.pull(epoch_iterator, num_batches)
        if not prompts:
            return [], None
        if (
            not self.modes.made
        ):  # before the first rollout, and before the first loss after resuming between two passes
            self.modes.make(self.model, self._proof_batches())
            check_objective(self.objective, self.scorer, self.model)
        iteration = self.state.global_step % self.options.num_iterations
        rows = [[str(feature["row_id"]) for feature in features] for features in prompts]
        if iteration == 0:
            self._block, self._block_rows = self._generate_rollouts(prompts), rows
        elif rows != self._block_rows:
            raise RuntimeError(
                f"Iteration {iteration} of a block met the rows {rows}, but its rollouts are those of {self._block_rows}: "
                "resume with the batch size, accumulation and number of processes that the run began with."
            )
        for batch, features in zip(self._block, prompts, strict=True):
            if not batch.prompts:  # after resuming
                good = features if self.guard is None else self.guard.good(features)
                batch.prompts = [prompt_of(feature) for feature in good]
        batches = [{"batch": batch, "input_ids": batch.tokens} for batch in self._block]
        return batches, torch.tensor(1, device=device)

    # how log-probs are computed

    def _proof_batches(self) -> list[RolloutBatch]:
        return proof_batches(
            self.train_dataset,
            self.loaded,
            length=self.options.max_new_tokens,
            size=self.args.per_device_train_batch_size,
            device=self.args.device,
            guard=self.guard,
        )

    # the loss

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> Any:
        """Sum the components of one micro-batch, each divided by its count over the whole optimiser step."""
        batch: RolloutBatch = inputs["batch"]
        with self.precision(), self.media.active():
            logps, batch.token_streams = score_with(  # (R, S)
                self.objective, self.scorer, model, batch, rows_at_once=self.options.rows_at_once
            )
        old_logps = logps.detach() if batch.old_logps is None else batch.old_logps
        if batch.old_logps is None:
            self._observe_entropy(batch, old_logps)
            self._observe_writer(batch, old_logps)
            if self.options.num_iterations > 1:
                batch.old_logps = old_logps  # no weight has moved since they were written
        weights = self.options.correction.weights(old_logps, batch)
        share = 1.0 / (len(self._block) * self.args.world_size)
        self.controls.measure(batch, self.rollout_log, share=share)
        parts = []
        for component in self.components:
            streams = (logps, old_logps, batch.ref_logps, batch)
            mask = component.tokens(batch)
            values = component.per_token(*streams)
            if weights is not None and component.corrected:
                values = values * weights
            total = masked_sum(values, mask, reduction=component.reduction)
            part = total / max(batch.normalisers[component.name], 1.0)
            parts.append(component.weight_now * part)
            # the parts of all micro-batches and processes make up one step
            self.rollout_log.averages.add(f"loss/{component.name}", part.detach(), share)
            if component.metrics is not None:
                with torch.no_grad():
                    for name, values in component.metrics(logps.detach(), *streams[1:]).items():
                        there = batch.mask & ~values.isnan()
                        self.rollout_log.averages.add(name, torch.where(there, values, 0.0).sum(), there.sum())
        batch.token_streams = {}  # their graph ends with this pass
        # data-parallel wrappers average gradients over processes; the normalisers count all of them
        loss = torch.stack(parts).sum() * self.args.world_size
        return (loss, {}) if return_outputs else loss

    def training_step(self, model: torch.nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Do the Trainer's step and take its time."""
        with self.rollout_log.timed("loss", share=1.0 / len(self._block)):
            loss = super().training_step(model, *args, **kwargs)
        self.controls.done(len(self._block))
        return loss

    # what is seen of it

    def _observe_entropy(self, batch: RolloutBatch, logps: torch.Tensor) -> None:
        # -log p of a sampled token has the entropy as its mean
        own = batch.mask & torch.tensor([source == POLICY for source in batch.sources], device=logps.device)[:, None]
        self.rollout_log.averages.add("entropy", -torch.where(own, logps, 0.0).sum(), own.sum())

    def _observe_writer(self, batch: RolloutBatch, logps: torch.Tensor) -> None:
        """Log how far a server's log-probs are from ours; stop where it should have our weights, and has not."""
        found = self.options.correction.metrics(logps, batch)
        for name, values in found.items():
            self.rollout_log.averages.add_values(name, values)
        if self._on_policy and found and self.options.is_whole:
            with self.precision():
                half = computes_in_half(self.model)
            check_difference(found["rollout/logp_diff_mean"].mean().item(), half=half)

    def close_rollouts(self) -> None:
        """Finish what runs beside the training: the bar and the completions on their way to disk."""
        self.rollout_log.close()

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add rewards, lengths, losses, times, tokens a second and peak memory since the last line."""
        if "loss" in logs:
            logs.update(self.rollout_log.take(self.accelerator, self.state))
        super().log(logs, *args, **kwargs)

    # checkpoints

    def save_parts(self, folder: Path) -> None:
        """Write the rollouts that are still to be learnt from, and all completions."""
        self.rollout_log.completions.flush()
        if self.is_world_process_zero():
            self.controls.save(folder)
        if self.ahead is not None:
            self.ahead.save(folder)
        if self.state.global_step % self.options.num_iterations:
            save_batches(folder, self._block, self._block_rows, process=self.args.process_index)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        super()._save_checkpoint(*args, **kwargs)
        if self.is_world_process_zero():  # each process has flushed, and waited for the others
            self.rollout_log.completions.join(self.state.global_step)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self.controls.restore(Path(checkpoint))
        if checkpoint is not None and self.ahead is not None:
            self.ahead.restore(Path(checkpoint))
        if checkpoint is not None and self.state.global_step % self.options.num_iterations:
            self._block, self._block_rows = load_batches(
                Path(checkpoint), process=self.args.process_index, device=self.args.device
            )
