"""Importance weights for completions that another program wrote with the policy's weights (truncated importance sampling).

A server computes the same model with other kernels, in another precision, or with weights of an earlier step; its samples come from
mu, not from pi_old. The weight pi_old / mu, cut at a cap, stands in front of a policy loss as a constant.
"""

from typing import Literal

import torch
from torch import Tensor

from .reduce import wide


Correction = Literal["none", "token_truncate", "token_mask", "sequence_truncate", "sequence_mask"]
MODES: tuple[Correction, ...] = ("none", "token_truncate", "token_mask", "sequence_truncate", "sequence_mask")


def importance_weights(
    old_logps: Tensor, sampling_logps: Tensor, mask: Tensor, *, mode: Correction, cap: float
) -> Tensor:
    """Return what each token's policy loss is multiplied by; without gradient.

    d_t = log pi_old(t) - log mu(t); `token`: w_t = exp(d_t); `sequence`: w_t = exp(sum_t d_t) for all tokens of a completion.
    `truncate`: min(w, cap) (TRL 0.24, `grpo_trainer.py`; truncated importance sampling); `mask`: w, or 0 where w > cap
    (TRL main, `vllm_importance_sampling_mode`). `none`: 1.

    Args:
        old_logps: (B, T) of the policy, at the temperature of writing.
        sampling_logps: (B, T) of the program that wrote; NaN where it is not known, which gives a weight of 1.
        mask: (B, T) which tokens belong to a completion.
        mode: one of `MODES`.
        cap: largest weight, above 0.

    Returns:
        (B, T), at least float32; 1 outside the mask.

    Raises:
        ValueError: an unknown mode, a cap that is not above 0, or shapes that differ.
    """
    if mode not in MODES:
        raise ValueError(f"mode: got {mode!r}, expected one of {', '.join(MODES)}.")
    if not cap > 0:
        raise ValueError(f"cap: got {cap}, expected a number above 0.")
    if not old_logps.shape == sampling_logps.shape == mask.shape:
        shapes = ", ".join(str(tuple(each.shape)) for each in (old_logps, sampling_logps, mask))
        raise ValueError(f"old_logps, sampling_logps, mask: got {shapes}, expected one shape (B, T).")
    difference = log_ratio(old_logps, sampling_logps, mask)
    if mode == "none":
        return torch.ones_like(difference)
    if mode.startswith("sequence"):
        difference = difference.sum(dim=1, keepdim=True).expand_as(difference)
    weights = difference.exp()  # inf is above every cap
    weights = weights.clamp(max=cap) if mode.endswith("truncate") else torch.where(weights > cap, 0.0, weights)
    return torch.where(mask.bool(), weights, 1.0)


def log_ratio(old_logps: Tensor, sampling_logps: Tensor, mask: Tensor) -> Tensor:
    """Return log pi_old - log mu (B, T), at least float32, without gradient; 0 outside the mask and where mu is not known."""
    difference = wide(old_logps.detach()) - wide(sampling_logps.detach())
    return torch.where(mask.bool() & ~difference.isnan(), difference, 0.0)
