"""GSPO and CISPO by hand, by twin and by limit."""

import math

import pytest
import torch
from torch import Tensor

from llamafactory_hind.losses.policy import clipped_surrogate
from llamafactory_hind.losses.reduce import masked_mean
from llamafactory_hind.losses.surrogates import cispo_surrogate, sequence_log_ratio, sequence_surrogate


CLIPS = {"clip_low": 0.2, "clip_high": 0.3}


def completions(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-probs (6, 5) now and before, a mask with one empty row, advantages (6,)."""
    generator = torch.Generator().manual_seed(seed)
    logps = -3 * torch.rand(6, 5, generator=generator, dtype=torch.float64)
    old = logps + 0.6 * torch.randn(6, 5, generator=generator, dtype=torch.float64)
    mask = torch.arange(5) < torch.tensor([5, 3, 1, 0, 4, 2])[:, None]
    return logps, old, mask, torch.randn(6, generator=generator, dtype=torch.float64)


def test_the_ratio_of_a_completion_by_hand() -> None:
    """Log-ratios 0.1 and 0.3 of two tokens: their mean is 0.2. What is outside the mask does not count."""
    logps = torch.tensor([[-1.0, -1.0, -9.0]])
    old = torch.tensor([[-1.1, -1.3, -1.0]])
    mask = torch.tensor([[True, True, False]])
    torch.testing.assert_close(sequence_log_ratio(logps, old, mask), torch.tensor([[0.2, 0.2, 0.2]]))


def test_gspo_equals_the_loss_of_trl() -> None:
    """TRL 0.24, `importance_sampling_level: sequence`, `loss_type: grpo`: value and gradient, row by row."""
    logps, old, mask, advantages = completions()
    ours, theirs = (logps.clone().requires_grad_() for _ in range(2))
    losses = sequence_surrogate(ours, old, mask, advantages, **CLIPS)
    masked_mean(losses, mask, reduction="sequence").backward()
    rows = []
    for row in range(6):
        count = int(mask[row].sum())
        if not count:
            continue
        ratio = ((theirs[row] - old[row]) * mask[row]).sum().div(count).exp()
        low, high = 1 - CLIPS["clip_low"], 1 + CLIPS["clip_high"]
        rows.append(-torch.min(ratio * advantages[row], ratio.clamp(low, high) * advantages[row]))
    torch.stack(rows).mean().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(masked_mean(losses, mask, reduction="sequence"), torch.stack(rows).mean())


def test_completions_of_one_token_have_one_ratio() -> None:
    logps, old, _, advantages = completions()
    logps, old = logps[:, :1], old[:, :1]
    mask = torch.ones(6, 1, dtype=torch.bool)
    torch.testing.assert_close(
        sequence_surrogate(logps, old, mask, advantages, **CLIPS), clipped_surrogate(logps, old, advantages, **CLIPS)
    )


def test_cispo_by_hand() -> None:
    """Ratio 2 is cut to 1.3, log pi = log 0.5, A = 1: loss -1.3 log 0.5, and a gradient of -1.3 where PPO has none."""
    logps = torch.tensor([[math.log(0.5)]], requires_grad=True)
    old = torch.tensor([[math.log(0.25)]])
    loss = cispo_surrogate(logps, logps - old, torch.tensor([1.0]), **CLIPS)
    assert loss.item() == pytest.approx(-1.3 * math.log(0.5))
    loss.backward()
    assert logps.grad.item() == pytest.approx(-1.3)
    again = logps.detach().requires_grad_()
    clipped_surrogate(again, old, torch.tensor([1.0]), **CLIPS).sum().backward()
    assert again.grad.item() == 0


def test_cispo_without_a_step_has_the_gradient_of_the_policy() -> None:
    """At a ratio of 1, both surrogates have the gradient -A."""
    logps, _, _, advantages = completions()
    first, second = (logps.clone().requires_grad_() for _ in range(2))
    cispo_surrogate(first, torch.zeros_like(logps), advantages, **CLIPS).sum().backward()
    clipped_surrogate(second, logps, advantages, **CLIPS).sum().backward()
    torch.testing.assert_close(first.grad, second.grad)


def test_a_huge_ratio_is_finite() -> None:
    logps = torch.tensor([[0.0]], requires_grad=True)
    loss = cispo_surrogate(logps, torch.tensor([[500.0]]), torch.tensor([1.0]), clip_low=0.2, clip_high=5.0)
    loss.backward()
    assert logps.grad.item() == -6
