"""Whether the answers of a pair may share one computed prompt; see `trainers.packing_proof`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ...engines.local.decoding import positions_of
from ...engines.local.proof import lengthened
from ...engines.local.scoring import check_head
from ..packing_proof import Packing, select_packing
from ..proof_rows import representative_rows
from .collator import PAIR_KEYS
from .trainer import PairTrainer, token_logps


if TYPE_CHECKING:
    from datasets import Dataset


ID_COLUMNS = ("prompt_input_ids", "chosen_ids", "rejected_ids")
Row = dict[str, Any]


def select_sharing(trainer: PairTrainer, datasets: "Sequence[Dataset]", *, share_prefix: str) -> None:
    """Prove the chunked head, then choose packed or plain batches; see `packing_proof.select_packing`.

    Args:
        trainer: not yet training; its model is the policy as loaded.
        datasets: all processed rows of the run; of each, every kind of row, the most media and the longest are tried.
        share_prefix: `auto`, `on` or `off`.
    """
    rows = [dataset[place] for dataset in datasets for place in representative_rows(dataset, ID_COLUMNS)]
    select_packing(trainer, rows, PACKING, share_prefix=share_prefix)


def longer(rows: Sequence[Row]) -> Row:
    """Return the longest row with a longer rejected answer: beside it the others are padded otherwise."""
    row = max(rows, key=lambda row: sum(len(row[name]) for name in ID_COLUMNS))
    answer = max(row["chosen_ids"], row["rejected_ids"], key=len)
    return {**row, "rejected_ids": lengthened(answer)}


def answers(model: torch.nn.Module, batch: dict[str, Any], count: int) -> torch.Tensor:
    """Return (M,) log-probs of the tokens of all chosen answers, then of all rejected ones, of the first `count` rows."""
    batch["position_ids"] = positions_of(batch)  # models count padding where they are not told
    logps, *masks = token_logps(model, batch)
    pairs = (
        len(logps) if "segments" in batch else len(logps) // 2
    )  # a plain batch has the rejected answers in its second half
    number = torch.arange(len(logps), device=logps.device) % pairs
    return torch.cat([logps[mask & (number < count)[:, None]] for mask in masks])


def _check_head(model: torch.nn.Module, batch: dict[str, Any]) -> None:
    check_head(model, {name: value for name, value in batch.items() if name not in PAIR_KEYS}, batch["labels"])


PACKING = Packing(answers, longer, _check_head, unit="a pair", alone="an answer")
