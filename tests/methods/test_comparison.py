"""What a completion teaches: penalties, advantages and masks from the keys of an online stage."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from trl.rewards import get_soft_overlong_punishment

from llamafactory_hind.engines.interface import FinishReason, Prompt, Request
from llamafactory_hind.losses.policy import group_advantages
from llamafactory_hind.methods.comparison import OVERLONG, TEACHES, GroupComparison, teaching_mask
from llamafactory_hind.trainers.rollouts.batch import batch_of
from llamafactory_hind.trainers.rollouts.records import Annotation, Rollout, Scores


OFF = {
    "advantage_scale": "std",
    "reward_normalization": "total",
    "mask_truncated": False,
    "group_reward_range": None,
    "overlong_buffer": 0,
    "overlong_penalty": 1.0,
    "temporal_weight": 0.0,
    "reward_weights_end": None,
}


def keys(**changes: Any) -> Any:
    return SimpleNamespace(**{**OFF, **changes})


def rollout(lengths: list[int], cut: list[bool] | None = None) -> Rollout:
    reasons = [FinishReason.LENGTH if each else FinishReason.STOP for each in cut or [False] * len(lengths)]
    prompt = Prompt([1], [], Request(()))
    ids = [[7] * length for length in lengths]
    return Rollout({"row_id": "r"}, prompt, ids, ["x"] * len(lengths), reasons, ["policy"] * len(lengths))


def scores(*groups: list[float]) -> Scores:
    total = torch.tensor(groups, dtype=torch.float64)
    return Scores(total, {"own": total})


def test_off_is_plain_grpo() -> None:
    comparison, found = GroupComparison(keys()), scores([0.0, 1.0], [0.3, 0.3])
    assert comparison.penalised(found, [rollout([3, 5])] * 2) is found
    assert torch.equal(comparison.advantages(found), group_advantages(found.total))
    annotation = Annotation([rollout([3, 5])], found, found.total)
    assert comparison.teaching(annotation) is annotation
    assert teaching_mask(keys()) is None


def test_the_penalty_is_that_of_trl() -> None:
    """DAPO's three ranges: no penalty, a slope, and nothing below the largest one at the limit."""
    lengths = [1, 10, 80, 81, 90, 99, 100]
    comparison = GroupComparison(keys(overlong_buffer=20), max_new_tokens=100)
    found = comparison.penalised(scores([0.5] * len(lengths)), [rollout(lengths)])
    expected = get_soft_overlong_punishment(100, 20)([[7] * length for length in lengths])
    assert found.each[OVERLONG][0].tolist() == pytest.approx(expected)
    assert found.total[0].tolist() == pytest.approx([0.5 + each for each in expected])


def test_the_penalty_has_a_size() -> None:
    comparison = GroupComparison(keys(overlong_buffer=10, overlong_penalty=0.3), max_new_tokens=20)
    assert comparison.penalised(scores([1.0, 1.0]), [rollout([15, 20])]).total[0].tolist() == pytest.approx(
        [0.85, 0.7]
    )


def test_cut_completions_do_not_teach_but_are_compared() -> None:
    comparison = GroupComparison(keys(mask_truncated=True))
    found = scores([0.0, 1.0, 1.0])
    rollouts = [rollout([2, 3, 1], [True, False, False])]
    kept = comparison.teaching(Annotation(rollouts, found, comparison.advantages(found)))
    assert kept.streams[TEACHES].tolist() == [[0, 1, 1]]
    assert kept.advantages[0, 1] > 0
    batch = batch_of(kept, device=torch.device("cpu"))
    assert teaching_mask(keys(mask_truncated=True))(batch).tolist() == [[False], [True], [True]]


def test_groups_that_are_too_easy_or_too_hard_do_not_teach() -> None:
    comparison = GroupComparison(keys(group_reward_range=[0.1, 0.9]))
    found = scores([0.0, 0.1], [0.0, 0.2], [1.0, 0.9], [1.0, 0.8])
    kept = comparison.teaching(Annotation([rollout([1, 1])] * 4, found, found.total))
    assert kept.streams[TEACHES][:, 0].tolist() == [0, 1, 0, 1]
    assert kept.metrics["groups_in_range"].flatten().tolist() == [0, 1, 0, 1]


def test_a_group_without_rewards_is_in_no_range() -> None:
    comparison = GroupComparison(keys(group_reward_range=[-1.0, 1.0]))
    found = scores([float("nan")] * 2)
    kept = comparison.teaching(Annotation([rollout([1, 1])], found, torch.zeros(1, 2)))
    assert kept.streams[TEACHES].tolist() == [[0, 0]]


def test_rewards_are_compared_one_by_one() -> None:
    small, large = (torch.tensor([row], dtype=torch.float64) for row in ([0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 9.0, 9.0]))
    both = Scores(2 * small + large, {"small": small, "large": large})
    found = GroupComparison(keys(reward_normalization="each"), [2.0, 1.0]).advantages(both)[0]
    assert found.sum().item() == pytest.approx(0, abs=1e-9)
    assert (found[1] - found[0]).item() == pytest.approx(
        2 * (found[2] - found[0]).item(), rel=1e-3
    )  # weight 2 against 1


@pytest.mark.parametrize("change", [{"advantage_scale": "batch"}, {"reward_normalization": "each"}])
def test_what_has_no_reward_teaches_nothing(change: dict[str, Any]) -> None:
    found = scores([0.0, float("nan"), 1.0])
    advantages = GroupComparison(keys(**change), [1.0]).advantages(found)[0]
    assert advantages[1] == 0
    assert advantages[0] < 0 < advantages[2]
