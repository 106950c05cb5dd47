"""A training loop over rated texts: `L = CE + w_qa MSE + w_r MSE`, the mean over the rows of an optimiser step."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...engines.local.critic import Critic, CriticOutput
from ...losses.critic import critic_loss
from ...storage.atomic import write_json
from ..headed import HeadedTrainer
from ..host import dropout_off
from ..sharding import refuse_sharding
from .collator import TARGETS, WEIGHTS


if TYPE_CHECKING:
    from llamafactory.hparams import FinetuningArguments
    from transformers import ProcessorMixin
    from transformers.trainer_utils import EvalLoopOutput

# (scores of acceptance, labels) -> name -> number; and -> the lines of the table of thresholds
Judge = Callable[[Sequence[float], Sequence[int]], tuple[dict[str, float], list[dict[str, Any]]]]


class CriticTrainer(HeadedTrainer):
    """`transformers.Trainer` over `CriticCollator` batches; the model is saved as the host saves it, its heads beside it.

    The loss of an optimiser step is the mean over all its rows, whatever the split into micro-batches and processes.
    """

    model: Critic

    def __init__(
        self,
        *,
        finetuning_args: "FinetuningArguments",
        processor: "ProcessorMixin | None",
        judge: Judge,
        **kwargs: Any,
    ) -> None:
        """Build the trainer; dropout is off: a score that is compared with a threshold is no random number.

        Args:
            finetuning_args: the host's, with our keys.
            processor: saved beside the model.
            judge: makes the numbers of an evaluation.
            **kwargs: of the Trainer; `model` is a `Critic`.
        """
        dropout_off(kwargs["model"])
        super().__init__(**kwargs)
        refuse_sharding(self.accelerator, "critic")
        self.finetuning_args = finetuning_args
        self.judge = judge
        self._evaluated: list[torch.Tensor] = []
        self.processor = processor

    def _get_num_items_in_batch(self, batch_samples: Sequence[Any], device: torch.device) -> torch.Tensor:
        """Count the rows of one optimiser step, over micro-batches and processes."""
        rows = torch.stack([batch[WEIGHTS].sum() for batch in batch_samples]).sum().to(device)
        return self.accelerator.reduce(rows, "sum") if self.args.world_size > 1 else rows

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        # The Trainer casts every float to DeepSpeed's dtype; labels must stay float32.
        kept = {name: inputs[name].to(self.args.device) for name in (*TARGETS, WEIGHTS)}
        return {**super()._prepare_inputs(inputs), **kept}

    def _losses(self, model: torch.nn.Module, inputs: dict[str, Any]) -> tuple[torch.Tensor, CriticOutput]:
        """Return the loss of each row, (N,), and what the critic says."""
        said = model(**{name: value for name, value in inputs.items() if name not in (*TARGETS, WEIGHTS)})
        losses = critic_loss(
            *said,
            *(inputs[name] for name in TARGETS),
            qa_weight=self.finetuning_args.critic_qa_weight,
            rationale_weight=self.finetuning_args.critic_rationale_weight,
        )
        return losses, said

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> Any:
        """Return this micro-batch's share of the mean loss of the optimiser step."""
        losses, said = self._losses(model, inputs)
        right = said.accept.argmax(-1) == inputs["accepted"].long()
        there = inputs[WEIGHTS] > 0
        self._averages.add_values("accuracy", right.float()[there])
        self._averages.add_values("mse/qa", ((said.qa.detach() - inputs["qa_score"]) ** 2)[there])
        self._averages.add_values("mse/rationale", ((said.rationale.detach() - inputs["rationale_score"]) ** 2)[there])
        self._tokens += int(inputs["input_ids"].numel())
        # data-parallel wrappers average gradients over processes; the rows are counted over all of them
        rows = there.sum() if num_items_in_batch is None else num_items_in_batch
        share = 1 if num_items_in_batch is None else self.args.world_size
        loss = (losses * inputs[WEIGHTS]).sum() * share / rows.clamp(min=1)
        return (loss, {}) if return_outputs else loss

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> "EvalLoopOutput":
        """Evaluate over all rows, and write the table of thresholds beside the model: `<prefix>_thresholds.json`."""
        self._evaluated.clear()
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        values = torch.cat(self._evaluated)  # (rows, 6)
        losses, scores, labels, *errors = values[values[:, -1] > 0, :-1].unbind(1)
        numbers, table = self.judge(scores.tolist(), [int(label) for label in labels.tolist()])
        found = {"loss": losses.mean().item(), **numbers}
        for name, values in zip(("mse/qa", "mse/rationale"), errors, strict=True):
            there = values[~values.isnan()]
            if len(there):
                found[name] = there.mean().item()
        output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in found.items()})
        if self.is_world_process_zero():
            write_json(Path(self.args.output_dir) / f"{metric_key_prefix}_thresholds.json", table)
        return output

    def prediction_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], *_: Any, **__: Any
    ) -> tuple[torch.Tensor, None, None]:
        """Score one evaluation batch; rows that only fill up the last batch are left out."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            losses, said = self._losses(model, inputs)
        accepts = said.accept.softmax(-1)[:, 1]
        errors = [(said.qa - inputs["qa_score"]) ** 2, (said.rationale - inputs["rationale_score"]) ** 2]
        columns = [losses, accepts, inputs["accepted"], *errors, inputs[WEIGHTS]]
        values = torch.stack(columns, 1).double()  # (N, 6)
        self._evaluated.append(self.accelerator.gather_for_metrics(values).cpu())
        return losses.mean().detach(), None, None
