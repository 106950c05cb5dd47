"""Advantages that need more than a group: the spread of a whole batch, and several rewards compared one by one."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .policy import group_advantages


def batch_scaled_advantages(rewards: Tensor, everyone: Tensor, *, eps: float = 1e-4) -> Tensor:
    """Compare with the group, and divide by the spread of the whole batch (TRL's `scale_rewards: batch`).

    A_i = (r_i - mean(group)) / (std(batch) + eps), std unbiased (Lite PPO, arXiv 2508.08221)

    Args:
        rewards: (N, G); NaN marks a completion without reward.
        everyone: rewards of the batch over all processes, any shape; NaN is left out.
        eps: added to the standard deviation, in units of reward.

    Returns:
        (N, G), at least float32; exactly 0 in groups of equal rewards.
    """
    return group_advantages(rewards, scale="none") / (_std(everyone) + eps)


def summed_advantages(rewards: Sequence[Tensor], weights: Sequence[float], *, eps: float = 1e-4) -> Tensor:
    """Compare each reward within the group, and sum (GDPO, arXiv 2601.05242, eq. 4 and 5).

    A_i = sum_k w_k (r_ki - mean(r_k)) / (std(r_k) + eps)

    Args:
        rewards: K tables (N, G), NaN where a reward does not apply: it adds 0 there.
        weights: of each.
        eps: added to the standard deviations.

    Returns:
        (N, G), at least float32; to be whitened over the batch (`whitened`).
    """
    parts = [w * group_advantages(table, eps=eps) for table, w in zip(rewards, weights, strict=True)]
    return torch.stack(parts).sum(0)


def whitened(values: Tensor, everyone: Tensor, *, eps: float = 1e-4) -> Tensor:
    """Return (values - mean) / (std + eps) with mean and unbiased std of `everyone` (GDPO, eq. 6); NaN is left out of both."""
    there = everyone[~everyone.isnan()]
    mean = there.mean() if there.numel() else 0.0
    return (values - mean) / (_std(everyone) + eps)


def _std(values: Tensor) -> Tensor:
    there = values[~values.isnan()]
    return there.std() if there.numel() > 1 else torch.zeros((), dtype=values.dtype)
