"""Policy-gradient losses over groups of texts: GRPO (arXiv 2402.03300) and external texts in its groups.

Vision-EKIPL (arXiv 2506.06856) puts texts of other models into a group; LUFFY (arXiv 2504.14945) shapes their gradient.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from .reduce import wide


AdvantageScale = Literal["std", "none"]
# [ours] Beyond it (a ratio of 1e13) `exp` goes on as its tangent: finite, since inf would turn a clipped branch's gradient
# of 0 into NaN, and never flat, since it should push hardest there.
LARGEST_LOG_RATIO = 30.0


def group_advantages(rewards: Tensor, *, scale: AdvantageScale = "std", eps: float = 1e-4) -> Tensor:
    """Compare each text with the other texts of its group (GRPO, arXiv 2402.03300, section 4.1.2).

    `std`: A_i = (r_i - mean(r)) / (std(r) + eps), std unbiased; `none`: A_i = r_i - mean(r) (Dr. GRPO, arXiv 2503.20783).

    Args:
        rewards: (N, G), a row for each prompt. NaN marks a text without reward: it counts in neither mean nor std.
        scale: `std` or `none`.
        eps: added to the standard deviation, in units of reward.

    Returns:
        (N, G), at least float32, without gradient. Exactly 0 where all rewards of a group are equal, where a group has
        one reward, and for texts without one.

    Raises:
        ValueError: an unknown scale, or rewards that are not (N, G).
    """
    if rewards.dim() != 2:
        raise ValueError(f"rewards {tuple(rewards.shape)}: expected (N, G), a row for each prompt.")
    if scale not in ("std", "none"):
        raise ValueError(f"scale: got {scale!r}, expected 'std' or 'none'.")
    rewards = wide(rewards.detach())
    has_reward = ~rewards.isnan()  # (N, G)
    counts = has_reward.sum(dim=1, keepdim=True)  # (N, 1)
    # The mean of equal numbers may round to another number; the mean of zeros is 0.
    lowest = torch.where(has_reward, rewards, math.inf).amin(dim=1, keepdim=True)
    above = torch.where(has_reward, rewards - lowest, 0)
    means = above.sum(dim=1, keepdim=True) / counts.clamp(min=1)
    advantages = torch.where(has_reward, above - means, 0)
    if scale == "none":
        return advantages
    variances = advantages.square().sum(dim=1, keepdim=True) / (counts - 1).clamp(min=1)
    return advantages / (variances.sqrt() + eps)


def clipped_surrogate(
    logps: Tensor, old_logps: Tensor, advantages: Tensor, *, clip_low: float, clip_high: float
) -> Tensor:
    """PPO's clipped objective per token, with its sign turned so that it is minimised (arXiv 2402.03300, eq. 3).

    loss = -min(rho A, clip(rho, 1 - clip_low, 1 + clip_high) A) with rho = exp(log pi - log pi_old)

    For texts of another model whose log-prob q of every token is known, `old_logps` = log q gives importance sampling.

    Args:
        logps: (B, T) log pi of each token. All three must be finite outside a mask, too.
        old_logps: (B, T) log pi_old, under the policy that wrote the text; a constant, no gradient flows into it.
        advantages: (B,) one for each text.
        clip_low: how far below 1 the ratio still counts.
        clip_high: how far above 1 the ratio still counts.

    Returns:
        (B, T) losses, at least float32.

    Raises:
        ValueError: shapes that do not fit.
    """
    _check_shapes(logps, advantages, old_logps=old_logps)
    return _clipped(_exp(_log_ratio(logps, old_logps)), advantages, clip_low=clip_low, clip_high=clip_high)


def behavior_surrogate(
    logps: Tensor, mask: Tensor, behavior_logps: Tensor, advantages: Tensor, *, clip_low: float, clip_high: float
) -> Tensor:
    """`clipped_surrogate` for texts of another model q of which only log q(text) is known, one number for the whole text.

    The two models may cut the text into different tokens, so the ratio is taken of whole texts, as a mean over the n tokens
    of the policy (GSPO, arXiv 2507.18071, eq. 7, with q for pi_old [ours]):

    s = exp((sum_t log pi_t - log q) / n);  loss_t = -min(s_t A, clip(s_t, 1 - clip_low, 1 + clip_high) A)

    s_t has the value of s and the gradient s d log pi_t / d theta, so the tokens of a text share its ratio.

    Args:
        logps: (B, T) log pi of each token.
        mask: (B, T) which tokens belong to the text.
        behavior_logps: (B,) log q of each text, the sum over its tokens.
        advantages: (B,) one for each text.
        clip_low: how far below 1 the ratio still counts.
        clip_high: how far above 1 the ratio still counts.

    Returns:
        (B, T) losses, at least float32.

    Raises:
        ValueError: shapes that do not fit.
    """
    _check_shapes(logps, advantages, mask=mask)
    if behavior_logps.shape != advantages.shape:
        raise ValueError(f"behavior_logps {tuple(behavior_logps.shape)}: expected (B,) = {tuple(advantages.shape)}.")
    logps, mask = wide(logps), mask.bool()
    fixed = torch.where(mask, logps.detach(), 0)  # (B, T)
    mean_ratio = (fixed.sum(dim=1) - wide(behavior_logps.detach())) / mask.sum(dim=1).clamp(min=1)  # (B,), logarithm
    ratios = _exp(mean_ratio[:, None] + logps - logps.detach())
    return _clipped(ratios, advantages, clip_low=clip_low, clip_high=clip_high)


def shaped_surrogate(logps: Tensor, advantages: Tensor, *, gamma: float) -> Tensor:
    """LUFFY's objective for texts of another model, per token and to be minimised (arXiv 2504.14945, section 3.3).

    loss = -f(pi) A with f(pi) = pi / (pi + gamma); d loss / d log pi = -A gamma pi / (pi + gamma)^2

    The other model's probability is taken as 1 and nothing is clipped. The weight is largest at pi = gamma, so tokens that
    the policy finds unlikely still teach, where the plain ratio would ignore them.

    Args:
        logps: (B, T) log pi of each token.
        advantages: (B,) one for each text.
        gamma: probability at which a token teaches most, above 0.

    Returns:
        (B, T) losses, at least float32.

    Raises:
        ValueError: gamma is not above 0, or shapes do not fit.
    """
    if not gamma > 0:
        raise ValueError(f"gamma: got {gamma}, expected a number above 0; at 0 no token has a gradient.")
    _check_shapes(logps, advantages)
    # pi / (pi + gamma) = sigma(log pi - log gamma), which no tiny pi turns into 0 / 0.
    return -torch.sigmoid(wide(logps) - math.log(gamma)) * wide(advantages.detach())[:, None]


def k3_kl(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """Estimate KL(pi || pi_ref) at each sampled token, never negative (arXiv 2402.03300, eq. 4; Schulman's k3).

    k3 = exp(d) - d - 1 with d = log pi_ref - log pi; beyond d = 30 exp goes on as its tangent, so nothing overflows

    Args:
        logps: (B, T) log pi of each token.
        ref_logps: (B, T) log pi_ref; a constant, no gradient flows into it.

    Returns:
        (B, T), at least float32.

    Raises:
        ValueError: shapes that differ.
    """
    if logps.shape != ref_logps.shape:
        raise ValueError(f"logps {tuple(logps.shape)}, ref_logps {tuple(ref_logps.shape)}: expected one shape.")
    difference = wide(ref_logps.detach()) - wide(logps)
    # expm1 where exp(d) - 1 would lose the digits of a small d; `where` alone would let inf * 0 = NaN into the gradient
    small = torch.expm1(difference.clamp(max=1.0))
    return torch.where(difference > 1.0, _exp(difference) - 1, small) - difference


def clip_fractions(
    logps: Tensor, old_logps: Tensor, advantages: Tensor, *, clip_low: float, clip_high: float
) -> dict[str, Tensor]:
    """Say which tokens `clipped_surrogate` gives no gradient, without gradient and not averaged.

    Args:
        logps: (B, T) log pi of each token.
        old_logps: (B, T) log pi_old.
        advantages: (B,) one for each text.
        clip_low: of the loss.
        clip_high: of the loss.

    Returns:
        (B, T) each: `ratio` = pi / pi_old; 1 or 0 for `clip/low` (ratio below 1 - clip_low and A < 0), `clip/high`
        (ratio above 1 + clip_high and A > 0) and `clip/region` (either).

    Raises:
        ValueError: shapes that do not fit.
    """
    _check_shapes(logps, advantages, old_logps=old_logps)
    ratios = _exp(_log_ratio(logps.detach(), old_logps))
    advantages = advantages[:, None]
    low = ((ratios < 1 - clip_low) & (advantages < 0)).to(ratios.dtype)
    high = ((ratios > 1 + clip_high) & (advantages > 0)).to(ratios.dtype)
    return {"ratio": ratios, "clip/low": low, "clip/high": high, "clip/region": low + high}


def _clipped(ratios: Tensor, advantages: Tensor, *, clip_low: float, clip_high: float) -> Tensor:
    advantages = wide(advantages.detach())[:, None]  # (B, 1)
    return -torch.minimum(ratios * advantages, ratios.clamp(1 - clip_low, 1 + clip_high) * advantages)


def _log_ratio(logps: Tensor, old_logps: Tensor) -> Tensor:
    return wide(logps) - wide(old_logps.detach())


def _exp(values: Tensor) -> Tensor:
    """Return exp(x) up to L = LARGEST_LOG_RATIO, from there on its tangent e^L (1 + x - L)."""
    return values.clamp(max=LARGEST_LOG_RATIO).exp() * (1 + (values - LARGEST_LOG_RATIO).relu())


def _check_shapes(logps: Tensor, advantages: Tensor, **others: Tensor) -> None:
    """Refuse what would broadcast into something else."""
    if logps.dim() != 2 or advantages.shape != logps.shape[:1]:
        raise ValueError(
            f"logps {tuple(logps.shape)}, advantages {tuple(advantages.shape)}: expected (B, T) and (B,), one a text."
        )
    for name, other in others.items():
        if other.shape != logps.shape:
            raise ValueError(f"{name} {tuple(other.shape)}: expected (B, T) = {tuple(logps.shape)}.")
