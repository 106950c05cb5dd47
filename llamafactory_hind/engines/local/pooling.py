"""Hidden states of any model the host loads, one vector a text: what the heads of a critic and of a matcher read."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from .scoring import head_replaced, output_head


POOLINGS = ("last", "mean")


def pooled_states(model: nn.Module, inputs: Mapping[str, Any], *, pooling: str) -> torch.Tensor:
    """Return one vector a text, (N, H), of the hidden states that the output head would see; no logits are computed.

    Args:
        model: a causal language model.
        inputs: with `attention_mask` (N, T), padded on either side.
        pooling: `last` (of the last token, which has seen all others) or `mean` (over all tokens).
    """
    return _pool(hidden_states(model, inputs), inputs["attention_mask"].bool(), pooling)


def hidden_states(model: nn.Module, inputs: Mapping[str, Any]) -> torch.Tensor:
    """Return the hidden states (N, T, H) that the output head would see; no logits are computed."""
    found: list[torch.Tensor] = []

    def compute(hidden: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        found.append(hidden)
        return hidden[..., :1]  # stands where logits stood

    with head_replaced(model, compute):
        model(**inputs, use_cache=False, return_dict=True)
    return found[0]


def last_places(mask: torch.Tensor) -> torch.Tensor:
    """Return where the last true entry of each row of a mask (N, T) is, (N,); -1 for a row without one."""
    places = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    return torch.where(mask, places, -1).max(1).values


def at(hidden: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Return the states (N, H) of one place a row of (N, T, H)."""
    return hidden[torch.arange(len(hidden), device=hidden.device), places]


def _pool(hidden: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    if pooling == "last":
        return at(hidden, last_places(mask))
    weights = mask.unsqueeze(-1)
    summed = torch.where(weights, hidden.float(), 0.0).sum(1)
    return summed / weights.sum(1)


def hidden_width(model: nn.Module) -> int:
    """Return the width H of the states that the output head sees."""
    head = output_head(model)
    base = getattr(head, "base_layer", head)
    return int(getattr(base, "in_features", 0) or base.weight.shape[1])
