"""Weights of rewards that move with the training."""

from types import SimpleNamespace

import pytest
import torch
from methods.test_comparison import keys, rollout, scores

from llamafactory_hind.methods.comparison import GroupComparison
from llamafactory_hind.methods.reward_schedule import RewardSchedule
from llamafactory_hind.trainers.rollouts.records import Annotation


def test_weights_move_in_a_straight_line() -> None:
    """From (1, 0) to (0, 2) in half of the training: a quarter is half of the way."""
    schedule = RewardSchedule([1.0, 0.0], [0.0, 2.0], span=0.5)
    assert [schedule.weights(share) for share in (0.0, 0.25, 0.5, 1.0)] == [[1, 0], [0.5, 1], [0, 2], [0, 2]]


def test_off_keeps_the_weights() -> None:
    weights = [1.0, 0.5]
    comparison = GroupComparison(keys(), weights)
    comparison.at(0.5)
    assert weights == [1.0, 0.5]
    assert RewardSchedule.of(SimpleNamespace(reward_weights_end=None), weights) is None


def test_the_list_of_the_rewards_changes_in_place_and_is_logged() -> None:
    weights = [1.0]
    comparison = GroupComparison(keys(reward_weights_end=[0.0], reward_weights_span=1.0), weights)
    comparison.at(0.75)
    assert weights == pytest.approx([0.25])
    found = scores([0.0, 1.0])
    told = comparison.teaching(Annotation([rollout([3, 5])], found, torch.zeros(1, 2)))
    assert told.metrics["reward_weight/own"].tolist() == pytest.approx([0.25])
    comparison.at(0.0)
    assert weights == [1.0]
