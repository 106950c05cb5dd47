"""Importance weights of rollouts: by hand, as TRL 0.24 computes them, and at their limits."""

import math

import pytest
import torch

from llamafactory_hind.losses.correction import MODES, importance_weights, log_ratio


OLD = torch.tensor([[-1.0, -2.0, -0.5], [-1.0, -1.0, 7.0]])
SAMPLING = torch.tensor([[-1.0 - math.log(3.0), -2.0 + math.log(2.0), -0.5], [-1.0 + math.log(4.0), -1.0, 9.0]])
MASK = torch.tensor([[True, True, True], [True, True, False]])


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("none", [[1, 1, 1], [1, 1, 1]]),
        ("token_truncate", [[2, 0.5, 1], [0.25, 1, 1]]),
        ("token_mask", [[0, 0.5, 1], [0.25, 1, 1]]),
        ("sequence_truncate", [[1.5, 1.5, 1.5], [0.25, 0.25, 1]]),
        ("sequence_mask", [[1.5, 1.5, 1.5], [0.25, 0.25, 1]]),
    ],
)
def test_by_hand(mode: str, expected: list[list[float]]) -> None:
    """Ratios of the tokens are 3, 1/2, 1 and 1/4, 1; of the completions 3/2 and 1/4; the cap is 2; behind the end is 1."""
    found = importance_weights(OLD, SAMPLING, MASK, mode=mode, cap=2.0)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32))


def test_a_completion_above_the_cap_is_cut_or_left_out() -> None:
    """With a cap of 1.4 the first completion, 3/2, gets 1.4 or nothing."""
    cut = importance_weights(OLD, SAMPLING, MASK, mode="sequence_truncate", cap=1.4)
    masked = importance_weights(OLD, SAMPLING, MASK, mode="sequence_mask", cap=1.4)
    assert cut[0].tolist() == pytest.approx([1.4] * 3)
    assert masked[0].tolist() == [0.0] * 3


def test_token_truncate_is_that_of_trl() -> None:
    """TRL 0.24, `GRPOTrainer._generate_and_score_completions`: clamp(exp(old - sampling), max=cap)."""
    generator = torch.Generator().manual_seed(0)
    old, sampling = -torch.rand(4, 6, generator=generator) * 5, -torch.rand(4, 6, generator=generator) * 5
    mask = torch.ones(4, 6, dtype=torch.bool)
    ours = importance_weights(old, sampling, mask, mode="token_truncate", cap=2.0)
    torch.testing.assert_close(ours, torch.clamp(torch.exp(old - sampling), max=2.0))


@pytest.mark.parametrize("mode", MODES)
def test_equal_policies_and_unknown_ones_change_nothing(mode: str) -> None:
    unknown = torch.full_like(OLD, float("nan"))
    for sampling in (OLD, unknown):
        assert torch.equal(importance_weights(OLD, sampling, MASK, mode=mode, cap=2.0), torch.ones_like(OLD))


def test_weights_are_finite_constants() -> None:
    old = torch.tensor([[0.0, 0.0]], requires_grad=True)
    far = torch.tensor([[-500.0, -500.0]])
    for mode in MODES:
        found = importance_weights(old, far, torch.ones(1, 2, dtype=torch.bool), mode=mode, cap=2.0)
        assert not found.requires_grad
        assert found.isfinite().all()
    assert log_ratio(old, far, torch.tensor([[True, False]])).tolist() == [[500.0, 0.0]]


def test_what_means_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="mode: got 'other'"):
        importance_weights(OLD, SAMPLING, MASK, mode="other", cap=2.0)
    with pytest.raises(ValueError, match="cap: got 0"):
        importance_weights(OLD, SAMPLING, MASK, mode="none", cap=0)
    with pytest.raises(ValueError, match="expected one shape"):
        importance_weights(OLD, SAMPLING[:1], MASK, mode="none", cap=2.0)
