"""The loss of a supervised critic of question, answer and rationale (LSKD, arXiv 2312.04837)."""

import torch
from torch import Tensor
from torch.nn import functional

from .reduce import wide


def critic_loss(
    accept_logits: Tensor,
    qa: Tensor,
    rationale: Tensor,
    accepted: Tensor,
    qa_scores: Tensor,
    rationale_scores: Tensor,
    *,
    qa_weight: float,
    rationale_weight: float,
) -> Tensor:
    """Return `CE(accept, accepted) + qa_weight (qa - s_qa)^2 + rationale_weight (rationale - s_r)^2`, (N,).

    The official code (jamespark3922/localized-skd, `F.mse_loss(r_logits, qa)`) compares the third head with s_qa,
    a slip: here it is compared with the raters' score of the rationale, s_r.

    Args:
        accept_logits: (N, 2), rejected first.
        qa: (N,) scores of question and answer that the critic gives.
        rationale: (N,) its scores of the rationale.
        accepted: (N,) 1 where the majority of raters accepts, else 0.
        qa_scores: (N,) s_qa of the raters; NaN where there is none, which adds nothing.
        rationale_scores: (N,) s_r, likewise.
        qa_weight: of the second term; 0.5 in the official code.
        rationale_weight: of the third; 0.5 in the official code.

    Raises:
        ValueError: shapes that do not fit.
    """
    shapes = [tuple(values.shape) for values in (qa, rationale, accepted, qa_scores, rationale_scores)]
    if accept_logits.dim() != 2 or accept_logits.shape[1] != 2 or set(shapes) != {(len(accept_logits),)}:
        raise ValueError(
            f"accept_logits {tuple(accept_logits.shape)}, the others {shapes}: expected (N, 2) and (N,) five times."
        )
    losses = functional.cross_entropy(wide(accept_logits), accepted.long(), reduction="none")
    for weight, found, wanted in ((qa_weight, qa, qa_scores), (rationale_weight, rationale, rationale_scores)):
        losses = losses + weight * _squared_error(wide(found), wide(wanted))
    return losses


def _squared_error(found: Tensor, wanted: Tensor) -> Tensor:
    # NaN must not reach the subtraction: its gradient would be NaN although it is masked afterwards
    there = ~wanted.isnan()
    return torch.where(there, found - torch.where(there, wanted, 0.0), 0.0) ** 2
