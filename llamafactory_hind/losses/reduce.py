"""From per-token values to one number; who counts how much is the only question, so each answer has its name."""

from typing import Literal

import torch
from torch import Tensor


Reduction = Literal["sequence", "token", "constant"]


def masked_mean(values: Tensor, mask: Tensor, *, reduction: Reduction) -> Tensor:
    """Average (B, T) values over the positions of a mask.

    With v the values, m the mask and n_b = sum_t m_bt:

    - `sequence`: mean over the sequences with n_b > 0 of (sum_t m_bt v_bt) / n_b. Every sequence counts the same, its tokens
      the less the longer it is (GRPO, arXiv 2402.03300, eq. 3).
    - `token`: (sum_bt m_bt v_bt) / (sum_b n_b). Every token counts the same (DAPO, arXiv 2503.14476, eq. 8).
    - `constant`: (sum_bt m_bt v_bt) / (B T). Every token counts the same, and by a constant: T is the padded length that the
      caller gives, so pad to one length (the generation budget) for Dr. GRPO (arXiv 2503.20783), which removes the length
      bias that a division by the actual length brings. Empty sequences count in B.

    Args:
        values: (B, T); what stands outside the mask is never read, NaN and inf included.
        mask: (B, T) bool, or numbers that are 0 or 1.
        reduction: one of the three above.

    Returns:
        A scalar, at least float32; 0 with a live graph (gradient 0) if the mask is empty or the tensor is.

    Raises:
        ValueError: an unknown reduction, or shapes that differ or are not (B, T).
    """
    if values.dim() != 2 or values.shape != mask.shape:
        raise ValueError(f"values {tuple(values.shape)}, mask {tuple(mask.shape)}: expected (B, T) twice.")
    mask = mask.bool()
    wide = torch.promote_types(values.dtype, torch.float32)
    # where, not a product: 0 * inf is NaN. Its gradient outside the mask is 0 whatever stands there.
    sums = torch.where(mask, values, 0).sum(dim=1, dtype=wide)  # (B,)
    counts = mask.sum(dim=1)  # (B,)
    if reduction == "sequence":
        return (sums / counts.clamp(min=1)).sum() / (counts > 0).sum().clamp(min=1)
    if reduction == "token":
        return sums.sum() / counts.sum().clamp(min=1)
    if reduction == "constant":
        return sums.sum() / max(values.numel(), 1)
    raise ValueError(f"reduction: got {reduction!r}, expected 'sequence', 'token' or 'constant'.")


def normaliser(mask: torch.Tensor, *, reduction: Reduction, length: int) -> float:
    """Return what this mask (R, S) adds to the number that a sum is divided by; `length` is that of `constant`."""
    if reduction == "sequence":
        return float(mask.any(1).sum())
    if reduction == "token":
        return float(mask.sum())
    return float(len(mask) * length)


def masked_sum(values: torch.Tensor, mask: torch.Tensor, *, reduction: Reduction) -> torch.Tensor:
    """Return the numerator of `losses.reduce.masked_mean` of (R, S) values: the quotient of both sums is the mean."""
    # where, not a product: 0 * inf is NaN
    sums = torch.where(mask, values, 0).sum(1, dtype=torch.promote_types(values.dtype, torch.float32))  # (R,)
    if reduction == "sequence":
        sums = sums / mask.sum(1).clamp(min=1)
    return sums.sum()
