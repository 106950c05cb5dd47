"""A training loop over pictures and their texts: `L = w_itc L_ITC + w_itm L_ITM + w_lm L_LM`."""

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ...engines.local.matching.model import Matched, Matcher, Wanted
from ...engines.local.scoring import IGNORE_INDEX
from ..headed import HeadedTrainer
from ..sharding import refuse_sharding
from .evaluation import Evaluated


if TYPE_CHECKING:
    from llamafactory.hparams import FinetuningArguments
    from transformers import ProcessorMixin
    from transformers.trainer_utils import EvalLoopOutput

NAMES = ("itc", "itm", "lm")
TEMPERATURE = "heads.temperature"


class MatchingTrainer(HeadedTrainer):
    """`transformers.Trainer` over `MatchingCollator` batches.

    L_ITC and L_ITM are means over the rows of an optimiser step, L_LM over the tokens of its targets. A row is compared with the
    rows of its own micro-batch, on all processes.
    """

    model: Matcher

    def __init__(
        self, *, finetuning_args: "FinetuningArguments", processor: "ProcessorMixin | None", **kwargs: Any
    ) -> None:
        """Build the trainer; dropout stays as the host's `sft` has it.

        Args:
            finetuning_args: the host's, with our keys.
            processor: saved beside the model.
            **kwargs: of the Trainer; `model` is a `Matcher`.
        """
        super().__init__(**kwargs)
        refuse_sharding(self.accelerator, "matching")
        self.finetuning_args, self.processor = finetuning_args, processor
        self.weights = {name: getattr(finetuning_args, f"{name}_weight") for name in NAMES}
        self._evaluated = Evaluated()
        self._evaluated_batches = 0
        self._step, self._micro_batch = -1, 0

    def get_decay_parameter_names(self, model: torch.nn.Module) -> list[str]:
        """Return the weights that decay; a temperature is none, as in the official code (no vector or scalar is)."""
        return [name for name in super().get_decay_parameter_names(model) if name != TEMPERATURE]

    def _get_num_items_in_batch(self, batch_samples: Sequence[Any], device: torch.device) -> torch.Tensor:
        """Count the rows and the tokens of targets in one optimiser step, (2,), over micro-batches and processes."""
        counts = sum((_counts(batch) for batch in batch_samples), torch.zeros(2, dtype=torch.long)).to(device)
        return self.accelerator.reduce(counts, "sum") if self.args.world_size > 1 else counts

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> Any:
        """Return this micro-batch's share of the loss of the optimiser step."""
        weights = self.weights
        wanted = Wanted("mean" if weights["lm"] else None, itc=bool(weights["itc"]), itm=bool(weights["itm"]))
        found = model(inputs, wanted, seed=self._seed_of_batch())
        own = _counts(inputs).to(self.args.device)
        rows, tokens = own if num_items_in_batch is None else num_items_in_batch
        world = 1 if num_items_in_batch is None else self.args.world_size
        # data-parallel wrappers average gradients over processes; rows and tokens are counted over all of them
        parts = {}
        if found.lm is not None:
            parts["lm"] = found.lm * (own[1] * world / tokens.clamp(min=1))
        if found.itc is not None:
            parts["itc"] = found.itc.sum() * world / rows
        if found.itm is not None:
            parts["itm"] = found.itm * world / rows
        self._record(found, own, inputs)
        loss = sum(weights[name] * part for name, part in parts.items())
        return (loss, {}) if return_outputs else loss

    def _seed_of_batch(self) -> int:
        """Return what the negatives of this micro-batch are drawn from: a resumed run draws the same."""
        step = self.state.global_step
        self._step, self._micro_batch = step, self._micro_batch + 1 if step == self._step else 0
        return zlib.crc32(f"{self.args.seed} {step} {self._micro_batch}".encode())

    def _record(self, found: Matched, own: torch.Tensor, inputs: dict[str, Any]) -> None:
        rows, tokens = own
        if found.lm is not None:
            self._averages.add("loss/lm", found.lm.detach() * tokens, tokens)
        if found.itc is not None:
            self._averages.add("loss/itc", found.itc.detach().sum(), rows)
            self._averages.add("temperature", self._matcher().heads.temperature.detach().float().clone())
        if found.itm is not None:
            self._averages.add("loss/itm", found.itm.detach(), rows)
            self._averages.add_values("itm_accuracy", found.right.float())
        self._tokens += int(inputs["input_ids"].numel())

    def _matcher(self) -> Matcher:
        return self.accelerator.unwrap_model(self.model)

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> "EvalLoopOutput":
        """Evaluate: the contrast over the whole set, the match over pairs drawn within each batch, the loss of the targets."""
        self._evaluated, self._evaluated_batches = Evaluated(), 0
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        matcher = self._matcher()
        temperature = matcher.heads.temperature.float().item()
        found = self._evaluated.numbers(temperature=temperature, smoothing=matcher.smoothing)
        found["loss"] = sum(
            self.weights[name] * found.get(f"loss/{name}", 0.0) for name in NAMES if self.weights[name]
        )
        output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in found.items()})
        return output

    def prediction_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], *_: Any, **__: Any
    ) -> tuple[torch.Tensor, None, None]:
        """Read one evaluation batch; rows that only fill up the last batch are left out."""
        inputs = self._prepare_inputs(inputs)
        weights = self.weights
        wanted = Wanted("sums" if weights["lm"] else None, bool(weights["itc"]), bool(weights["itm"]), gather=False)
        self._evaluated_batches += 1
        with torch.no_grad(), self.compute_loss_context_manager():
            found = model(inputs, wanted, seed=zlib.crc32(f"{self.args.seed} {self._evaluated_batches}".encode()))
        self._keep(found, inputs)
        return torch.zeros((), device=self.args.device), None, None

    def _keep(self, found: Matched, inputs: dict[str, Any]) -> None:
        """Keep what an evaluation batch leaves, of all processes."""
        gather, kept = self.accelerator.gather_for_metrics, self._evaluated
        if found.lm_sums is not None:
            kept.lm.append(gather(found.lm_sums).cpu())
        if found.itc is not None:
            kept.image.append(gather(found.image).cpu())
            kept.text.append(gather(found.text).cpu())
            kept.pictures.append(gather(inputs["pictures"]).cpu())
        if found.itm is not None:
            rows = len(inputs["pictures"])
            sums = [found.itm.float(), torch.tensor(rows), found.right.sum(), torch.tensor(len(found.right))]
            kept.itm.append(
                self.accelerator.gather(torch.stack([one.float().to(self.args.device) for one in sums])[None]).cpu()
            )


def _counts(batch: dict[str, Any]) -> torch.Tensor:
    """Return the rows of a batch, and the tokens of its targets that something predicts, (2,)."""
    tokens = (batch["labels"][:, 1:] != IGNORE_INDEX).sum()
    return torch.stack([torch.tensor(len(batch["labels"])), tokens.cpu()])
