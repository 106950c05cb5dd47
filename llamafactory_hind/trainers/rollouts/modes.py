"""Which mode scores completions: proved on rows of the run, the same on every process."""

from typing import TYPE_CHECKING

import torch

from ...engines.local.scoring import base_model
from ..host import precision_of
from .batch import RolloutBatch
from .reference import Reference
from .scoring import GroupScorer


if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import TrainingArguments


class ModeSelection:
    """Proves the shared prompt and the chunked head of the policy, and of a reference with a scorer of its own.

    Args:
        args: of the training.
        accelerator: of the trainer.
        scorer: of the policy.
        reference: what KL holds the policy to.
        reference_scorer: of the reference, or the policy's.
    """

    def __init__(
        self,
        args: "TrainingArguments",
        accelerator: "Accelerator",
        scorer: GroupScorer,
        reference: Reference | None,
        reference_scorer: GroupScorer,
    ) -> None:
        """Nothing is proved yet."""
        self.args, self.accelerator = args, accelerator
        self.scorer, self.reference, self.reference_scorer = scorer, reference, reference_scorer
        self.made = False

    def repeat(self, model: torch.nn.Module, batches: list[RolloutBatch]) -> bool:
        """Prove again where a process has met a kind of row, or a length, without proof; return whether it was done."""
        new = [batch for batch in batches if not self.scorer.covers(batch)]
        count = torch.tensor(float(len(new)), device=self.args.device)
        if not self.accelerator.reduce(count, "sum").item():
            return False
        self.make(model, [batch.longest(completions=2) for batch in new or batches[:1]])
        return True

    def make(self, model: torch.nn.Module, batches: list[RolloutBatch]) -> None:
        """Prove on `batches`; every process takes the mode that all of them can."""
        model.train()
        self._select(self.scorer, model, batches)
        if self.reference is not None and self.reference_scorer is not self.scorer:
            with self.reference.active(self.args.device) as other:
                self._select(self.reference_scorer, other, batches)
        self.made = True

    def _select(self, scorer: GroupScorer, model: torch.nn.Module, batches: list[RolloutBatch]) -> None:
        before = scorer.mode, scorer.chunked, self.made
        with precision_of(self.args):
            half = bool(self.args.bf16 or self.args.fp16) or base_model(model).dtype != torch.float32
            reason = scorer.select_mode(model, batches, half=half)
        verdicts = torch.tensor([float(reason is not None), float(not scorer.chunked)], device=self.args.device)
        refused, unknown_head = self.accelerator.reduce(verdicts, "sum").tolist()
        scorer.chunked = not unknown_head
        if refused and scorer.mode != "plain":
            reason = scorer.refuse("another process found a difference")
        if (scorer.mode, scorer.chunked, True) != before:
            scorer.log_mode(reason)
