"""Whether the two answers of a pair can share one computed prompt: asked of the model, then proved on real rows."""

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from llamafactory.extras import logging

from ...engines.local.attention import why_not_packed
from ...engines.local.decoding import positions_of
from ...engines.local.proof import PASSING_ERRORS, Difference, lengthened, why_not_equal
from ...engines.local.scoring import check_head, computes_in_half
from ..proof_rows import representative_rows
from .collator import PAIR_KEYS, PairCollator
from .trainer import PairTrainer, token_logps


if TYPE_CHECKING:
    from datasets import Dataset


logger = logging.get_logger(
    "llamafactory.hind." + __name__.partition(".")[2]
)  # a child of the host's logger, which has handlers
ID_COLUMNS = ("prompt_input_ids", "chosen_ids", "rejected_ids")
Row = dict[str, Any]


@torch.no_grad()
def select_sharing(trainer: PairTrainer, datasets: "Sequence[Dataset]", *, share_prefix: str) -> None:
    """Prove the chunked head, then choose packed or plain batches and set `trainer.collator.packed`.

    Args:
        trainer: not yet training; its model is the policy as loaded.
        datasets: all processed rows of the run; of each, every kind of row, the most media and the longest are tried.
        share_prefix: `auto` (packed when proved equal, else plain with a log line), `on` (an error instead), `off`.

    Raises:
        UnsupportedHead: the chunked head does not reproduce the model's own logits.
        ValueError: `share_prefix: on` and the model cannot, or its packed log-probs differ.
    """
    model = trainer.placed(trainer.model)
    rows = [dataset[place] for dataset in datasets for place in representative_rows(dataset, ID_COLUMNS)]
    training, _ = model.training, model.eval()
    try:
        with trainer.precision():
            for row in rows:
                _check_head(trainer, model, row)
            reason = None
            if share_prefix != "off":
                reason = why_not_packed(model) or _first_difference(trainer, model, rows)
    finally:
        model.train(training)
    trainer.collator.packed = share_prefix != "off" and reason is None
    if share_prefix == "off":
        logger.info_rank0("share_prefix: off; every prompt is computed twice, once an answer.")
    elif reason is None:
        logger.info_rank0(
            f"share_prefix: on; prompts are computed once a pair (equal to the plain path on {len(rows)} rows, the longest and "
            "those with the most media of every kind among them)."
        )
    elif share_prefix == "on":
        raise ValueError(
            f"`share_prefix: on` is not possible with this model: {reason}. Set `share_prefix: auto` or `off`."
        )
    else:
        logger.warning_rank0(f"share_prefix: fell back to one row an answer, because {reason}.")


def _check_head(trainer: PairTrainer, model: torch.nn.Module, row: Row) -> None:
    batch = trainer._prepare_inputs(trainer.collator.plain_batch([dict(row)]))
    check_head(model, {name: value for name, value in batch.items() if name not in PAIR_KEYS}, batch["labels"])


def _first_difference(trainer: PairTrainer, model: torch.nn.Module, rows: list[Row]) -> str | None:
    """Return how packed and plain log-probs differ, as many rows at a time as in training; None if they agree."""
    size = trainer.args.per_device_train_batch_size
    for start in range(0, len(rows), size):
        reason = _difference(trainer, model, rows[start : start + size])
        if reason is not None:
            return f"packed {reason}" if reason.startswith("log-probs") else f"a packed row is refused ({reason})"
    return None


def _difference(trainer: PairTrainer, model: torch.nn.Module, rows: list[Row]) -> str | None:
    collator, other = trainer.collator, _padding_left(trainer.collator)
    plain = answers(trainer, model, collator.plain_batch, rows)
    try:
        noise = Difference.of(
            answers(trainer, model, other.plain_batch, [*rows, longer(rows)], count=len(rows)), plain
        )
    except torch.OutOfMemoryError:
        raise
    except PASSING_ERRORS:  # the model takes no padding on the left: no noise is known
        noise = Difference(0.0, 0.0)
    return why_not_equal(
        lambda: answers(trainer, model, collator.packed_batch, rows), plain, noise, half=computes_in_half(model)
    )


def _padding_left(collator: PairCollator) -> PairCollator:
    """Return a collator that pads on the other side: equal numbers but for rounding."""
    other, tokenizer = copy.copy(collator), copy.copy(collator.tokenizer)
    tokenizer.padding_side = "right" if tokenizer.padding_side == "left" else "left"
    other.tokenizer = tokenizer
    return other


def longer(rows: Sequence[Row]) -> Row:
    """Return the longest row with a longer rejected answer: beside it the others are padded otherwise."""
    row = max(rows, key=lambda row: sum(len(row[name]) for name in ID_COLUMNS))
    answer = max(row["chosen_ids"], row["rejected_ids"], key=len)
    return {**row, "rejected_ids": lengthened(answer)}


def answers(
    trainer: PairTrainer,
    model: torch.nn.Module,
    collate: Callable[[list[Row]], dict[str, Any]],
    rows: Sequence[Row],
    *,
    count: int | None = None,
) -> torch.Tensor:
    """Return (M,) log-probs of the tokens of all chosen answers, then of all rejected ones, of the first `count` rows."""
    batch = trainer._prepare_inputs(collate([dict(row) for row in rows]))
    batch["position_ids"] = positions_of(batch)  # models count padding where they are not told
    logps, *masks = token_logps(model, batch)
    kept = len(rows) if count is None else count
    number = torch.arange(len(logps), device=logps.device) % len(rows)  # of the pair in each row of the batch
    return torch.cat([logps[mask & (number < kept)[:, None]] for mask in masks])
