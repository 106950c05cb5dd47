"""A training loop over rows with two tasks: `L = L_answer + reason_weight * L_reason`, each a mean over its own tokens of a step."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ...engines.local.sharded import whole
from ..host import HostTrainer
from ..metrics import Averages, peak_memory_gib
from ..sharding import refuse_sharding
from .collator import ANSWER, REASON, MultitaskCollator
from .losses import model_inputs, sums_by_task, token_logps


if TYPE_CHECKING:
    from llamafactory.hparams import FinetuningArguments
    from transformers import ProcessorMixin
    from transformers.trainer_utils import EvalLoopOutput

    from .answers import AnswerCheck

NAMES = {ANSWER: "loss/answer", REASON: "loss/reason"}


class MultitaskTrainer(HostTrainer):
    """`transformers.Trainer` over `MultitaskCollator` batches.

    With S_t the summed token losses of task t in an optimiser step and n_t its tokens, over all micro-batches and processes,
    the loss is `S_answer / n_answer + reason_weight * S_reason / n_reason`; a task without tokens adds nothing.
    """

    def __init__(
        self,
        *,
        reason_weight: float,
        finetuning_args: "FinetuningArguments",
        processor: "ProcessorMixin | None",
        answers: "AnswerCheck | None" = None,
        **kwargs: Any,
    ) -> None:
        """Build the trainer; dropout stays as the host's `sft` has it.

        Args:
            reason_weight: weight of the reasoning loss.
            finetuning_args: the host's.
            processor: saved beside the model.
            answers: writes answers at each evaluation; None writes none.
            **kwargs: of the Trainer.
        """
        super().__init__(**kwargs)
        refuse_sharding(self.accelerator, "multitask")
        self.reason_weight = reason_weight
        self.finetuning_args = finetuning_args
        self.processor = processor
        self.answers = answers
        self.model_accepts_loss_kwargs = True  # the tokens of a step are counted by _get_num_items_in_batch
        self._averages = Averages()
        self._evaluated: list[torch.Tensor] = []
        self._tokens = 0
        self._clock = time.perf_counter()

    @property
    def collator(self) -> MultitaskCollator:
        """The collator, whose `packed` switch says whether the texts of a row share its prompt."""
        return self.data_collator

    def _get_num_items_in_batch(self, batch_samples: Sequence[Any], device: torch.device) -> torch.Tensor:
        """Count the tokens of each task in one optimiser step, (2,), over micro-batches and processes."""
        counts = sum((batch["counts"] for batch in batch_samples), torch.zeros(2, dtype=torch.long)).to(device)
        return self.accelerator.reduce(counts, "sum") if self.args.world_size > 1 else counts

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> Any:
        """Return this micro-batch's share of the loss of the optimiser step."""
        counts = inputs["counts"] if num_items_in_batch is None else num_items_in_batch
        sums, own = self._host_sums(model, inputs) if self._learns_answers_alone else self._sums(model, inputs)
        self._record(inputs, sums, own)
        # data-parallel wrappers average gradients over processes; the tokens are counted over all of them
        shares = own * self.args.world_size / counts.clamp(min=1)
        loss = (sums * shares)[ANSWER]
        if self.reason_weight:
            loss = loss + self.reason_weight * (sums * shares)[REASON]
        return (loss, {}) if return_outputs else loss

    @property
    def _learns_answers_alone(self) -> bool:
        return self.reason_weight == 0

    def _sums(self, model: torch.nn.Module, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean token losses of a micro-batch by task, (2,), and how many tokens they are of, (2,)."""
        sums, counts = (values.sum(0) for values in sums_by_task(token_logps(model, inputs), inputs))
        return sums / counts.clamp(min=1), counts

    def _host_sums(self, model: torch.nn.Module, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Do what `_sums` does for answers alone, with the host's own loss: its numbers bit for bit, and its full logits."""
        if not inputs["counts"][ANSWER]:  # nothing to learn: a mean over no token would be NaN
            return self._sums(model, inputs)
        loss = model(**model_inputs(inputs), labels=inputs["labels"]).loss
        return torch.stack([loss, torch.zeros_like(loss)]), inputs["counts"].to(loss.dtype)

    def _record(self, inputs: dict[str, Any], means: torch.Tensor, counts: torch.Tensor) -> None:
        sums = (means * counts).detach()
        for task, name in NAMES.items():
            self._averages.add(name, sums[task], counts[task])
        self._tokens += int(inputs["input_ids"].numel())

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add the losses of both tasks, tokens a second and peak memory since the last line to what the Trainer logs."""
        if "loss" in logs:
            logs.update(self._averages.take(self.accelerator))
            seconds = max(time.perf_counter() - self._clock, 1e-9)
            tokens = torch.tensor(float(self._tokens), device=self.args.device)
            logs["tokens_per_second"] = self.accelerator.reduce(tokens, "sum").item() / seconds
            logs["peak_memory_gib"] = peak_memory_gib()
            self._tokens, self._clock = 0, time.perf_counter()
        super().log(logs, *args, **kwargs)

    def evaluation_loop(
        self, dataloader: Any, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any
    ) -> "EvalLoopOutput":
        """Evaluate both tasks over all tokens of the set, and the answers that the model writes, where asked for."""
        self._evaluated.clear()
        output = super().evaluation_loop(dataloader, *args, metric_key_prefix=metric_key_prefix, **kwargs)
        found = self._evaluation_losses()
        if self.answers is not None:
            with self.precision(), whole(self.model):
                found |= self.answers.check(self, dataloader.dataset, name=metric_key_prefix)
        output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in found.items()})
        return output

    def _evaluation_losses(self) -> dict[str, float]:
        """Return `loss`, and the loss of each task that the set has."""
        sums, counts = torch.cat(self._evaluated).sum(0).chunk(2)  # (2,), (2,)
        means = {task: (sums[task] / counts[task]).item() for task in NAMES if counts[task]}
        weights = {ANSWER: 1.0, REASON: self.reason_weight}
        loss = sum(weights[task] * mean for task, mean in means.items())
        return {"loss": loss} | {NAMES[task]: mean for task, mean in means.items()}

    def prediction_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], *_: Any, **__: Any
    ) -> tuple[torch.Tensor, None, None]:
        """Sum the losses of one evaluation batch by row and task, those of rows that only fill up the last batch left out."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            sums, counts = sums_by_task(token_logps(model, inputs), inputs)  # (N, 2) each
        values = self.accelerator.gather_for_metrics(torch.cat([sums, counts], 1))
        self._evaluated.append(values.cpu().double())
        return sums.sum().detach(), None, None
