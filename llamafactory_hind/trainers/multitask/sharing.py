"""Whether the texts of a row may share one computed prompt; see `trainers.packing_proof`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ...engines.local.decoding import positions_of
from ...engines.local.proof import OTHER_PADDING
from ...engines.local.scoring import check_head, head_arguments, output_head, unwrap
from ..packing_proof import Packing, select_packing
from ..proof_rows import representative_rows
from .losses import model_inputs, token_logps


if TYPE_CHECKING:
    from datasets import Dataset

    from .trainer import MultitaskTrainer

Row = dict[str, Any]


def select_sharing(trainer: "MultitaskTrainer", datasets: "Sequence[Dataset]", *, share_prefix: str) -> None:
    """Prove the chunked head, then choose packed or plain batches; see `packing_proof.select_packing`.

    Args:
        trainer: not yet training.
        datasets: all processed rows of the run; of each, every kind of row, the most media and the longest are tried.
        share_prefix: `auto`, `on` or `off`.

    Raises:
        UnsupportedHead: also where the head has dropout of its own.
    """
    head_arguments(unwrap(trainer.model), output_head(trainer.model))  # in training mode
    rows = [dataset[place] for dataset in datasets for place in representative_rows(dataset, ("input_ids",))]
    select_packing(trainer, rows, PACKING, share_prefix=share_prefix)


def longer(rows: Sequence[Row]) -> Row:
    """Return the longest row with a longer last text."""
    row = max(rows, key=lambda row: len(row["input_ids"]))
    more = {name: [*row[name], *[row[name][-1]] * OTHER_PADDING] for name in ("input_ids", "labels")}
    return {**row, **more, "lengths": [*row["lengths"][:-1], row["lengths"][-1] + OTHER_PADDING]}


def _score(model: torch.nn.Module, batch: dict[str, Any], count: int) -> torch.Tensor:
    """Return (M,) log-probs of all scored tokens, text by text, of the first `count` rows."""
    batch["position_ids"] = positions_of(batch)  # models count padding where they are not told
    logps = token_logps(model, batch)
    return logps[(batch["tasks"] >= 0) & (batch["owners"] < count)[:, None]]


def _check_head(model: torch.nn.Module, batch: dict[str, Any]) -> None:
    check_head(model, model_inputs(batch), batch["labels"])


PACKING = Packing(_score, longer, _check_head, unit="a row", alone="a text")
