"""From per-token values to one number; who counts how much is the only question, so each answer has its name."""

from functools import reduce
from typing import Literal, get_args

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
        values: (B, T); what is outside the mask is never read, NaN and inf included.
        mask: (B, T) bool, or numbers that are 0 or 1.
        reduction: one of the three above.

    Returns:
        A scalar, at least float32; 0 with a live graph (gradient 0) if the mask is empty or the tensor is.

    Raises:
        ValueError: an unknown reduction, or shapes that differ or are not (B, T).
    """
    if values.dim() != 2 or values.shape != mask.shape:
        raise ValueError(f"values {tuple(values.shape)}, mask {tuple(mask.shape)}: expected (B, T) twice.")
    if reduction not in get_args(Reduction):
        raise ValueError(f"reduction: got {reduction!r}, expected 'sequence', 'token' or 'constant'.")
    mask = mask.bool()
    count = normaliser(mask, reduction=reduction, length=mask.shape[1])
    return masked_sum(values, mask, reduction=reduction) / max(count, 1.0)


def normaliser(mask: Tensor, *, reduction: Reduction, length: int) -> float:
    """Return what this bool mask (R, S) adds to the number that a sum is divided by; `length` is that of `constant`."""
    if reduction == "sequence":
        return float(mask.any(1).sum())
    if reduction == "token":
        return float(mask.sum())
    return float(len(mask) * length)


def masked_sum(values: Tensor, mask: Tensor, *, reduction: Reduction) -> Tensor:
    """Return the numerator of `masked_mean` of (R, S) values under a bool mask, at least float32.

    Divided by the sum of `normaliser` over all parts of a batch, the sum over the parts is the mean of the whole.
    """
    # where, not a product: 0 * inf is NaN. Its gradient outside the mask is 0 whatever is there.
    sums = torch.where(mask, values, 0).sum(1, dtype=wide_dtype(values.dtype))  # (R,)
    if reduction == "sequence":
        sums = sums / mask.sum(1).clamp(min=1)
    return sums.sum()


def wide_dtype(*dtypes: torch.dtype) -> torch.dtype:
    """Return the dtype that holds all of these, at least float32: sums, ratios and differences of bfloat16 keep no digits."""
    return reduce(torch.promote_types, dtypes, torch.float32)


def wide(values: Tensor) -> Tensor:
    """Return the values in at least float32."""
    return values.to(wide_dtype(values.dtype))
