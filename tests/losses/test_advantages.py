"""Advantages over a batch and over several rewards, by hand and against TRL's formulas."""

import math

import pytest
import torch

from llamafactory_hind.losses.advantages import batch_scaled_advantages, summed_advantages, whitened
from llamafactory_hind.losses.policy import group_advantages


NAN = float("nan")


def test_the_spread_of_a_batch_by_hand() -> None:
    """Rewards 0, 2 and 1, 1: mean 1 in both groups; unbiased variance of 0, 2, 1, 1 is 2/3."""
    rewards = torch.tensor([[0.0, 2.0], [1.0, 1.0]], dtype=torch.float64)
    found = batch_scaled_advantages(rewards, rewards, eps=0.0)
    side = 1 / math.sqrt(2 / 3)
    torch.testing.assert_close(found, torch.tensor([[-side, side], [0.0, 0.0]], dtype=torch.float64))


def test_equals_trl_with_scale_rewards_batch() -> None:
    rewards = torch.rand(4, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    flat = rewards.flatten()
    expected = (flat - rewards.mean(1).repeat_interleave(8)) / (flat.std() + 1e-4)
    torch.testing.assert_close(batch_scaled_advantages(rewards, rewards).flatten(), expected)


def test_a_missing_reward_is_in_no_spread() -> None:
    rewards = torch.tensor([[0.0, 2.0, NAN], [1.0, 1.0, NAN]])
    found = batch_scaled_advantages(rewards, rewards)
    torch.testing.assert_close(found[:, :2], batch_scaled_advantages(rewards[:, :2], rewards[:, :2]))
    assert found[:, 2].tolist() == [0, 0]
    assert batch_scaled_advantages(torch.full((1, 2), NAN), torch.full((1, 2), NAN)).tolist() == [[0, 0]]


def test_each_reward_counts_whatever_its_unit() -> None:
    """GDPO's point: a reward in units of 1000 does not drown the other; both orders are kept apart."""
    small, large = torch.tensor([[0.0, 1.0, 0.0, 1.0]]), torch.tensor([[0.0, 0.0, 1000.0, 1000.0]])
    found = summed_advantages([small, large], [1.0, 1.0], eps=0.0)[0]
    side = 1 / (2 * math.sqrt(1 / 3))  # rewards 0, 1, 0, 1: mean 1/2, unbiased variance 1/3
    torch.testing.assert_close(found, torch.tensor([-2 * side, 0.0, 0.0, 2 * side]))
    together = group_advantages(small + large, eps=0.0)[0]
    assert abs(together[1] - together[0]) < 0.01 < abs(found[1] - found[0])


def test_gdpo_equals_its_formula() -> None:
    """Normalise each reward in its group, sum by weight, whiten over the batch."""
    generator = torch.Generator().manual_seed(1)
    tables = [torch.rand(3, 4, generator=generator, dtype=torch.float64) for _ in range(2)]
    parts = [(each - each.mean(1, keepdim=True)) / (each.std(1, keepdim=True) + 1e-4) for each in tables]
    summed = 0.5 * parts[0] + 2.0 * parts[1]
    expected = (summed - summed.mean()) / (summed.std() + 1e-4)
    found = summed_advantages(tables, [0.5, 2.0])
    torch.testing.assert_close(whitened(found, found), expected)


@pytest.mark.parametrize("values", [[], [NAN], [3.0]])
def test_too_few_numbers_have_no_spread(values: list[float]) -> None:
    found = whitened(torch.tensor([1.0]), torch.tensor(values))
    assert found.isfinite().all()
