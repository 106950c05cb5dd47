"""Pair losses by hand, by twin, by limit."""

import math

import pytest
import torch
from torch import Tensor

from llamafactory_hind.losses.preference import (
    gap_weights,
    kepo_length_normalized_loss,
    kepo_loss,
    preference_metrics,
)


def pairs(seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(5, generator=generator, dtype=torch.float64) * 3 - 8 for _ in range(4)]


def test_by_hand() -> None:
    """Margin = (-8 + 10) - (-5 + 4) = 3, beta 0.1: loss = log(1 + e^-0.3); d loss / d chosen = -0.1 sigma(-0.3)."""
    chosen = torch.tensor([-8.0], dtype=torch.float64, requires_grad=True)
    rejected = torch.tensor([-5.0], dtype=torch.float64, requires_grad=True)
    losses = kepo_loss(chosen, rejected, torch.tensor([-10.0]), torch.tensor([-4.0]), beta=0.1)
    assert losses.shape == (1,)
    assert losses.item() == pytest.approx(math.log(1 + math.exp(-0.3)), abs=1e-12)
    losses.sum().backward()
    slope = 0.1 / (1 + math.exp(0.3))
    assert chosen.grad.item() == pytest.approx(-slope, abs=1e-12)
    assert rejected.grad.item() == pytest.approx(slope, abs=1e-12)


def test_length_normalized_by_hand() -> None:
    """Log-ratios 2 over 4 tokens and -1 over 2: margin 0.5 + 0.5 = 1, beta 0.5: loss = log(1 + e^-0.5)."""
    losses = kepo_length_normalized_loss(
        *(torch.tensor([value]) for value in (-8.0, -5.0, -10.0, -4.0)), torch.tensor([4]), torch.tensor([2]), beta=0.5
    )
    assert losses.item() == pytest.approx(math.log(1 + math.exp(-0.5)), abs=1e-6)


def test_length_normalized_with_length_one_is_the_plain_loss() -> None:
    ones = torch.ones(5)
    torch.testing.assert_close(
        kepo_length_normalized_loss(*pairs(), ones, ones, beta=0.3), kepo_loss(*pairs(), beta=0.3)
    )


def test_twin() -> None:
    """One pair at a time in Python floats."""
    weights = torch.tensor([0.0, 0.5, 1.0, 2.0, 0.1], dtype=torch.float64)
    losses = kepo_loss(*pairs(), beta=0.7, weights=weights)
    rows = zip(*(column.tolist() for column in pairs()), weights.tolist(), strict=True)
    expected = [w * math.log(1 + math.exp(-0.7 * ((c - rc) - (r - rr)))) for c, r, rc, rr, w in rows]
    assert losses.tolist() == pytest.approx(expected, abs=1e-12)
    assert losses[0].item() == 0.0  # weight 0


@pytest.mark.parametrize("beta", [0.0, 1e-9, 0.7])
def test_policy_equal_to_reference_is_log_two(beta: float) -> None:
    chosen, rejected, *_ = pairs()
    losses = kepo_loss(chosen, rejected, chosen, rejected, beta=beta)
    assert losses.tolist() == pytest.approx([math.log(2)] * 5, abs=1e-12)


def test_beta_to_zero_is_log_two_whatever_the_margin() -> None:
    assert kepo_loss(*pairs(), beta=1e-12).tolist() == pytest.approx([math.log(2)] * 5, abs=1e-9)


def test_extreme_margins_stay_finite() -> None:
    """-log sigma(x) is -x for x far below 0 and 0 for x far above, with slopes -1 and 0."""
    chosen = torch.tensor([-2000.0, 2000.0], requires_grad=True)
    zeros = torch.zeros(2)
    losses = kepo_loss(chosen, zeros, zeros, zeros, beta=1.0)
    assert losses.tolist() == [2000.0, 0.0]
    losses.sum().backward()
    assert chosen.grad.tolist() == [-1.0, 0.0]


def test_bfloat16_margins_are_taken_in_float32() -> None:
    """100 - 99.5 against 96 - 96: 0.5 in bf16 numbers that exist; the loss has float32 digits."""
    values = [torch.tensor([value], dtype=torch.bfloat16) for value in (100.0, 96.0, 99.5, 96.0)]
    losses = kepo_loss(*values, beta=0.1)
    assert losses.dtype == torch.float32
    assert losses.item() == pytest.approx(math.log(1 + math.exp(-0.05)), abs=1e-6)


def test_gap_weights_by_hand() -> None:
    """c(l) - c(w) = 0, log 3, -log 3: weights 1/2, 3/4, 1/4; no gradient flows into the reference."""
    chosen = torch.tensor([-1.0, -1.0 - math.log(3), -1.0], requires_grad=True)
    rejected = torch.tensor([-1.0, -1.0, -1.0 - math.log(3)])
    weights = gap_weights(chosen, rejected)
    assert weights.tolist() == pytest.approx([0.5, 0.75, 0.25], abs=1e-6)
    assert not weights.requires_grad


def test_metrics_by_hand() -> None:
    """beta 0.5; log-ratios (2, -1), (-1, 2), (1, 1): rewards are half of that, the tie is no success."""
    chosen = torch.tensor([2.0, -1.0, 1.0], requires_grad=True)
    rejected = torch.tensor([-1.0, 2.0, 1.0])
    metrics = preference_metrics(chosen, rejected, torch.zeros(3), torch.zeros(3), beta=0.5)
    assert {key: value.tolist() for key, value in metrics.items()} == {
        "rewards/chosen": [1.0, -0.5, 0.5],
        "rewards/rejected": [-0.5, 1.0, 0.5],
        "rewards/margins": [1.5, -1.5, 0.0],
        "rewards/accuracies": [1.0, 0.0, 0.0],
    }
    assert not any(value.requires_grad for value in metrics.values())
