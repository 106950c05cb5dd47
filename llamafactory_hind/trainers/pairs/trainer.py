"""A training loop over pairs of answers that knows no method: a stage hands in the loss of a pair.

The reference is never held in memory: its log-probs come with the rows (`trainers.pairs.reference`).
"""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from ...engines.local.packing import CHOSEN, REJECTED, packed_masks
from ...engines.local.scoring import IGNORE_INDEX, token_logprobs
from ..host import HostTrainer, dropout_off
from ..metrics import peak_memory_gib
from ..sharding import refuse_sharding
from .collator import PAIR_KEYS, REFERENCE_COLUMNS, PairCollator


if TYPE_CHECKING:
    from llamafactory.hparams import FinetuningArguments
    from transformers import ProcessorMixin
    from transformers.trainer_utils import EvalLoopOutput


@dataclass(frozen=True)
class PairLogps:
    """Summed log-probs of N pairs under policy and reference, and answer lengths in tokens; every field (N,)."""

    chosen: torch.Tensor
    rejected: torch.Tensor
    chosen_length: torch.Tensor
    rejected_length: torch.Tensor
    ref_chosen: torch.Tensor | None = None
    ref_rejected: torch.Tensor | None = None


PairLoss = Callable[[PairLogps], tuple[torch.Tensor, dict[str, torch.Tensor]]]  # -> (N,) losses, (N,) metrics


def pair_logps(model: torch.nn.Module, batch: dict[str, Any]) -> PairLogps:
    """Score both answers of each pair of a `PairCollator` batch, packed or plain, in one forward pass."""
    logps, chosen, rejected = token_logps(model, batch)
    if batch.get("segments") is None:
        sums, lengths = logps.sum(-1), (chosen | rejected).sum(-1)  # (2N,)
        return PairLogps(*sums.chunk(2), *lengths.chunk(2))
    return PairLogps((logps * chosen).sum(-1), (logps * rejected).sum(-1), chosen.sum(-1), rejected.sum(-1))


def token_logps(model: torch.nn.Module, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Score the tokens of both answers of each pair of a batch; see `pair_logps`.

    Returns:
        log-probs, and bool masks of the tokens of chosen and of rejected answers: (2N, T) of a plain batch, (N, T) of a packed
        one. `logps[mask]` lists the same tokens in the same order for both.
    """
    labels, segments = batch["labels"], batch.get("segments")
    inputs = {name: value for name, value in batch.items() if name not in PAIR_KEYS}
    if segments is None:
        scored = labels != IGNORE_INDEX
        scored[:, 0] = False
        first = torch.arange(len(labels), device=labels.device)[:, None] < len(labels) // 2
        return token_logprobs(model, inputs, labels), scored & first, scored & ~first
    inputs["attention_mask"] = packed_masks(model, inputs, segments)
    logps = token_logprobs(model, inputs, labels, sources=batch["sources"])  # (N, T)
    return logps, segments == CHOSEN, segments == REJECTED


class PairTrainer(HostTrainer):
    """`transformers.Trainer` over `PairCollator` batches; loss and metrics of a pair are the stage's.

    The loss of an optimiser step is the mean over all its pairs, whatever the split into micro-batches and processes.
    """

    def __init__(
        self,
        *,
        pair_loss: PairLoss,
        finetuning_args: "FinetuningArguments",
        processor: "ProcessorMixin | None",
        **kwargs: Any,
    ) -> None:
        """Build the trainer; dropout is turned off, as in the host's DPO, so that policy and reference compare."""
        dropout_off(kwargs["model"])
        super().__init__(**kwargs)
        refuse_sharding(self.accelerator, "pairs")
        self.pair_loss = pair_loss
        self.finetuning_args = finetuning_args
        self.model_accepts_loss_kwargs = True  # the step's pairs are counted by _get_num_items_in_batch
        self._sums: dict[str, dict[str, list[Any]]] = {"train": defaultdict(list), "eval": defaultdict(list)}
        self._tokens = 0
        self._clock = time.perf_counter()
        self.processor = processor

    @property
    def collator(self) -> PairCollator:
        """The pair collator, whose `packed` switch says whether a pair shares its prompt."""
        return self.data_collator

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> torch.Tensor:
        """Count the pairs of one optimiser step, over micro-batches and processes."""
        pairs = sum((batch["pairs"] for batch in batch_samples), torch.tensor(0)).to(device)
        return self.accelerator.reduce(pairs, "sum") if self.args.world_size > 1 else pairs

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        # The Trainer casts every float to DeepSpeed's dtype; reference log-probs must stay float32.
        kept = {name: inputs[name].to(self.args.device) for name in REFERENCE_COLUMNS if name in inputs}
        return {**super()._prepare_inputs(inputs), **kept}

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> Any:
        """Mean loss of the pairs; in training, this micro-batch's share of the optimiser step's mean."""
        scored = pair_logps(model, inputs)
        if REFERENCE_COLUMNS[0] in inputs:
            ref_chosen, ref_rejected = (inputs[name] for name in REFERENCE_COLUMNS)
            scored = replace(scored, ref_chosen=ref_chosen, ref_rejected=ref_rejected)
        losses, metrics = self.pair_loss(scored)  # (N,)
        count = len(losses)
        if "weights" in inputs:  # pairs that stand in for bad ones count for nothing
            there = inputs["weights"] > 0
            metrics = {name: values[there] for name, values in metrics.items()}
            losses, count = losses * inputs["weights"], max(int(there.sum()), 1)
        self._record("train" if model.training else "eval", metrics, inputs)
        if model.training and num_items_in_batch is not None:
            # data-parallel wrappers average gradients over processes; the pairs are counted over all of them
            loss = losses.sum() * self.args.world_size / num_items_in_batch.clamp(min=1)
        else:
            loss = losses.sum() / count if "weights" in inputs else losses.mean()
        return (loss, {}) if return_outputs else loss

    def _record(self, split: str, metrics: dict[str, torch.Tensor], batch: dict[str, Any]) -> None:
        for name, values in metrics.items():
            self._sums[split][name].append(values.detach().float())
        if split == "train":
            self._tokens += int(batch["input_ids"].numel())

    def _reduced(self, split: str) -> dict[str, float]:
        """Mean of every metric over all pairs of all processes since the last call, weighted by pairs."""
        recorded, self._sums[split] = self._sums[split], defaultdict(list)
        if not recorded:
            return {}
        names = sorted(recorded)
        flat = [torch.cat(recorded[name]) for name in names]
        sums = torch.stack(
            [values.sum() for values in flat] + [torch.tensor(float(len(flat[0])), device=flat[0].device)]
        )
        sums = self.accelerator.reduce(sums, "sum").tolist()
        if not sums[-1]:
            return {}
        return {name: value / sums[-1] for name, value in zip(names, sums, strict=False)}

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add the pair metrics, tokens a second and peak memory since the last line to what the Trainer logs."""
        if "loss" in logs:
            logs.update(self._reduced("train"))
            seconds = max(time.perf_counter() - self._clock, 1e-9)
            tokens = torch.tensor(float(self._tokens), device=self.args.device)
            logs["tokens_per_second"] = self.accelerator.reduce(tokens, "sum").item() / seconds
            logs["peak_memory_gib"] = peak_memory_gib()
            self._tokens, self._clock = 0, time.perf_counter()
        super().log(logs, *args, **kwargs)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> "EvalLoopOutput":
        """Evaluate as the Trainer does and add the pair metrics, so that `metric_for_best_model` can name them."""
        self._sums["eval"].clear()
        output = super().evaluation_loop(*args, **kwargs)
        prefix = kwargs.get("metric_key_prefix", "eval")
        output.metrics.update({f"{prefix}_{name}": value for name, value in self._reduced("eval").items()})
        return output

    def prediction_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], *_: Any, **__: Any
    ) -> tuple[torch.Tensor, None, None]:
        """Loss and metrics of one evaluation batch; a pair has no predictions to gather."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(model, inputs)
        return loss.detach(), None, None
