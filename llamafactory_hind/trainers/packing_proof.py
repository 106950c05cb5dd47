"""Whether the texts of a row may share one computed prompt: asked of the model, then proved on real rows, for any packed batches."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from llamafactory.extras import logging

from ..engines.local.attention import why_not_packed
from ..engines.local.proof import PASSING_ERRORS, Difference, why_not_equal
from ..engines.local.scoring import computes_in_half


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizer

    from .host import HostTrainer

logger = logging.get_logger("llamafactory.hind.trainers.packing_proof")
Row = dict[str, Any]
Batch = dict[str, Any]


class PackingCollator(Protocol):
    """A collator that lays a row out in two ways."""

    packed: bool
    tokenizer: "PreTrainedTokenizer"

    def plain_batch(self, features: list[Row]) -> Batch:
        """One row a text."""

    def packed_batch(self, features: list[Row]) -> Batch:
        """One row for all texts."""


@dataclass(frozen=True)
class Packing:
    """What the proof needs to know of a kind of rows.

    Attributes:
        score: (model, batch, M) -> (K,) log-probs of the scored tokens of the first M rows, in one order for both layouts.
        longer: rows -> one that is longer than all of them: beside it the others are padded otherwise.
        check_head: (model, plain batch) -> raises where the chunked head does not reproduce the model's own logits.
        unit: what a prompt is computed once for, for the log: "a pair".
        alone: what has its own prompt where it is not, for the log: "an answer".
    """

    score: Callable[[torch.nn.Module, Batch, int], torch.Tensor]
    longer: Callable[[Sequence[Row]], Row]
    check_head: Callable[[torch.nn.Module, Batch], None]
    unit: str
    alone: str


@torch.no_grad()
def select_packing(trainer: "HostTrainer", rows: Sequence[Row], packing: Packing, *, share_prefix: str) -> None:
    """Prove the chunked head, then choose packed or plain batches and set `trainer.collator.packed`.

    Args:
        trainer: not yet training; its model is the policy as loaded.
        rows: that would show a mistake.
        packing: of their kind.
        share_prefix: `auto` (packed when proved equal, else plain with a log line), `on` (an error instead), `off`.

    Raises:
        UnsupportedHead: the chunked head does not reproduce the model's own logits.
        ValueError: `share_prefix: on` and the model cannot, or its packed log-probs differ.
    """
    model = trainer.placed(trainer.model)
    training, _ = model.training, model.eval()
    try:
        with trainer.precision():
            for row in rows:
                packing.check_head(model, trainer._prepare_inputs(trainer.collator.plain_batch([dict(row)])))
            reason = None
            if share_prefix != "off":
                reason = why_not_packed(model) or _first_difference(trainer, model, rows, packing)
    finally:
        model.train(training)
    trainer.collator.packed = share_prefix != "off" and reason is None
    if share_prefix == "off":
        logger.info_rank0(f"share_prefix: off; every prompt is computed anew for each text of {packing.unit}.")
    elif reason is None:
        logger.info_rank0(
            f"share_prefix: on; prompts are computed once {packing.unit} (equal to the plain path on {len(rows)} rows, the longest "
            "and those with the most media of every kind among them)."
        )
    elif share_prefix == "on":
        raise ValueError(
            f"`share_prefix: on` is not possible with this model: {reason}. Set `share_prefix: auto` or `off`."
        )
    else:
        logger.warning_rank0(f"share_prefix: fell back to one row {packing.alone}, because {reason}.")


def _first_difference(
    trainer: "HostTrainer", model: torch.nn.Module, rows: Sequence[Row], packing: Packing
) -> str | None:
    """Return how packed and plain log-probs differ, as many rows at a time as in training; None if they agree."""
    size = trainer.args.per_device_train_batch_size
    for start in range(0, len(rows), size):
        reason = _difference(trainer, model, rows[start : start + size], packing)
        if reason is not None:
            return f"packed {reason}" if reason.startswith("log-probs") else f"a packed row is refused ({reason})"
    return None


def _difference(trainer: "HostTrainer", model: torch.nn.Module, rows: Sequence[Row], packing: Packing) -> str | None:
    collator, other = trainer.collator, padding_otherwise(trainer.collator)

    def score(collate: Callable[[list[Row]], Batch], some: Sequence[Row]) -> torch.Tensor:
        batch = trainer._prepare_inputs(collate([dict(row) for row in some]))
        return packing.score(model, batch, len(rows))

    plain = score(collator.plain_batch, rows)
    try:
        noise = Difference.of(score(other.plain_batch, [*rows, packing.longer(rows)]), plain)
    except torch.OutOfMemoryError:
        raise
    except PASSING_ERRORS:  # the model takes no padding on the left: no noise is known
        noise = Difference(0.0, 0.0)
    return why_not_equal(lambda: score(collator.packed_batch, rows), plain, noise, half=computes_in_half(model))


def padding_otherwise(collator: PackingCollator) -> PackingCollator:
    """Return a collator that pads on the other side: equal numbers but for rounding."""
    other, tokenizer = copy.copy(collator), copy.copy(collator.tokenizer)
    tokenizer.padding_side = "right" if tokenizer.padding_side == "left" else "left"
    other.tokenizer = tokenizer
    return other
