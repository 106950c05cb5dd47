"""Other surrogates than PPO's: the ratio of a whole completion (GSPO) and a clipped weight with every gradient (CISPO)."""

import torch
from torch import Tensor

from .policy import LARGEST_LOG_RATIO, clipped_surrogate
from .reduce import wide


def sequence_log_ratio(logps: Tensor, old_logps: Tensor, mask: Tensor) -> Tensor:
    """Return log s_i, the mean log-ratio of the tokens of each completion (GSPO, arXiv 2507.18071, eq. 7).

    Args:
        logps: (B, T) log pi of each token.
        old_logps: (B, T) log pi_old; a constant.
        mask: (B, T) which tokens belong to the completion.

    Returns:
        (B, T), the same number for all tokens of a row. Its gradient at a token is that of the token's own log pi, so that the
        mean over the tokens has the gradient of eq. 7 (GSPO-token, eq. 14).
    """
    logps, mask = wide(logps), mask.bool()
    difference = torch.where(mask, logps.detach() - wide(old_logps.detach()), 0)
    mean = difference.sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True).clamp(min=1)  # (B, 1)
    return mean + logps - logps.detach()


def sequence_surrogate(
    logps: Tensor, old_logps: Tensor, mask: Tensor, advantages: Tensor, *, clip_low: float, clip_high: float
) -> Tensor:
    """GSPO's objective, to be minimised (arXiv 2507.18071, eq. 5 and 14): PPO's clipping of the ratio of whole completions.

    loss_t = -min(s_i A, clip(s_i, 1 - clip_low, 1 + clip_high) A),  s_i = exp(mean_t (log pi_t - log pi_old_t))

    Args:
        logps: (B, T) log pi of each token.
        old_logps: (B, T) log pi_old; a constant.
        mask: (B, T) which tokens belong to the completion.
        advantages: (B,) one for each completion.
        clip_low: how far below 1 the ratio still counts.
        clip_high: how far above 1 the ratio still counts.

    Returns:
        (B, T) losses, at least float32; equal for all tokens of a completion.
    """
    log_ratio = sequence_log_ratio(logps, old_logps, mask)
    return clipped_surrogate(
        log_ratio, torch.zeros_like(log_ratio), advantages, clip_low=clip_low, clip_high=clip_high
    )


def cispo_surrogate(
    logps: Tensor, log_ratio: Tensor, advantages: Tensor, *, clip_low: float, clip_high: float
) -> Tensor:
    """CISPO's objective, to be minimised (MiniMax-M1, arXiv 2506.13585, eq. 4 and 5).

    loss_t = -sg(clip(rho_t, 1 - clip_low, 1 + clip_high)) A log pi_t

    The weight is a constant (sg), so a clipped token keeps a gradient, where PPO's clipping takes it away.

    Args:
        logps: (B, T) log pi of each token.
        log_ratio: (B, T) log rho, of tokens or of completions; no gradient flows into it.
        advantages: (B,) one for each completion.
        clip_low: how far below 1 the weight may be.
        clip_high: how far above 1 the weight may be.

    Returns:
        (B, T) losses, at least float32.
    """
    ratios = wide(log_ratio.detach()).clamp(max=LARGEST_LOG_RATIO).exp()
    return -ratios.clamp(1 - clip_low, 1 + clip_high) * wide(advantages.detach())[:, None] * wide(logps)
