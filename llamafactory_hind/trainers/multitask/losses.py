"""Sums of token losses by task, from one forward pass over a batch of `MultitaskCollator`."""

from collections.abc import Mapping
from typing import Any

import torch

from ...engines.local.packing import packed_masks
from ...engines.local.scoring import token_logprobs
from .collator import TASK_KEYS


def model_inputs(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the model takes of a batch."""
    return {name: value for name, value in batch.items() if name not in TASK_KEYS}


def token_logps(model: torch.nn.Module, batch: Mapping[str, Any]) -> torch.Tensor:
    """Return (R, T) float32 log-probs of the labels of a batch, packed or plain, 0 where there is none.

    `logps[batch["tasks"] >= 0]` lists the same tokens in the same order for both.
    """
    inputs, segments = model_inputs(batch), batch.get("segments")
    if segments is not None:
        inputs["attention_mask"] = packed_masks(model, inputs, segments)
    return token_logprobs(model, inputs, batch["labels"], sources=batch.get("sources"))


def sums_by_task(logps: torch.Tensor, batch: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return negative log-probs summed by feature and task, (N, 2), and how many tokens they are, (N, 2)."""
    tasks, owners = batch["tasks"], batch["owners"]
    masks = torch.stack([tasks == task for task in (0, 1)], -1)  # (R, T, 2)
    count = int(owners.max()) + 1
    sums = -(logps[..., None] * masks).sum(1)  # (R, 2)
    empty = sums.new_zeros(count, 2)
    return empty.index_add(0, owners, sums), empty.index_add(0, owners, masks.sum(1).to(sums.dtype))
