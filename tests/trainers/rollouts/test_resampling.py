"""Dynamic sampling: which prompts take the place of others, whatever the split of a step."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from llamafactory_hind.engines.interface import FinishReason, Prompt, Request
from llamafactory_hind.trainers.rollouts.order import BlockSampler, curriculum_ranks
from llamafactory_hind.trainers.rollouts.records import Rollout, Scores, join_scores
from llamafactory_hind.trainers.rollouts.resampling import DynamicSampling


ROWS = [{"row_id": f"row-{number}", "columns": "{}"} for number in range(40)]


def write(features: list[Mapping[str, Any]], attempt: int = 0) -> list[Rollout]:
    prompt = Prompt([1], [], Request(()))
    return [
        Rollout(row, prompt, [[attempt], [2]], ["a", "b"], [FinishReason.STOP] * 2, ["policy"] * 2) for row in features
    ]


def score(rollouts: list[Rollout]) -> Scores:
    """Rows with an even number have signal."""
    groups = [[0.0, float(int(each.row_id.split("-")[1]) % 2 == 0)] for each in rollouts]
    total = torch.tensor(groups, dtype=torch.float64).reshape(-1, 2)
    return Scores(total, {"own": total}, {"note": [[each.row_id] * 2 for each in rollouts]})


def test_groups_without_signal_are_replaced_and_others_stay() -> None:
    rollouts = write([ROWS[0], ROWS[1], ROWS[4], ROWS[3]])
    found = DynamicSampling(attempts=20).replace(rollouts, ROWS, seed="0/7", write=write, score=score)
    assert [found.rollouts[place] is rollouts[place] for place in range(4)] == [True, False, True, False]
    assert found.scores.total[:, 1].tolist() == [1, 1, 1, 1]
    assert found.scores.extra["note"] == [[each.row_id] * 2 for each in found.rollouts]
    assert found.metrics["resampled"].tolist() == [0.5] * 4
    assert found.metrics["resampled/failed"].tolist() == [0] * 4


def test_the_split_of_a_step_changes_nothing() -> None:
    rollouts, sampling = write(ROWS[:9]), DynamicSampling(attempts=4)
    whole = sampling.replace(rollouts, ROWS, seed="0/7", write=write, score=score).rollouts
    parts = [
        sampling.replace(part, ROWS, seed="0/7", write=write, score=score).rollouts
        for part in (rollouts[:2], rollouts[2:3], rollouts[3:])
    ]
    assert [each.row_id for each in whole] == [each.row_id for part in parts for each in part]
    other = sampling.replace(rollouts, ROWS, seed="0/8", write=write, score=score).rollouts
    assert [each.row_id for each in whole] != [each.row_id for each in other]


def test_attempts_are_bounded_and_what_was_written_first_stays() -> None:
    rollouts = write([ROWS[1], ROWS[3]])
    calls = []

    def watched(features: list[Mapping[str, Any]], attempt: int) -> list[Rollout]:
        calls.append((attempt, len(features)))
        return write(features, attempt)

    odd = ROWS[1::2]
    found = DynamicSampling(attempts=3).replace(rollouts, odd, seed="s", write=watched, score=score)
    assert calls == [(1, 2), (2, 2), (3, 2)]
    assert found.rollouts == rollouts
    assert found.metrics["resampled/failed"].tolist() == [1, 1]


def test_nothing_is_written_where_every_group_has_signal() -> None:
    rollouts = write(ROWS[0:6:2])
    found = DynamicSampling(attempts=3).replace(rollouts, ROWS, seed="s", write=lambda *_: 1 / 0, score=score)
    assert found.rollouts == rollouts


def test_a_range_of_rewards_counts_as_well() -> None:
    sampling = DynamicSampling(attempts=1, reward_range=[0.6, 1.0])  # the mean of a group is 0.5
    found = sampling.replace(write(ROWS[:2]), ROWS, seed="s", write=write, score=score)
    assert found.metrics["resampled/failed"].tolist() == [1, 1]


def test_scores_of_another_batch_take_places() -> None:
    first, second = score(write(ROWS[:3])), score(write(ROWS[10:12]))
    joined = join_scores(first, second, {2: 0, 0: 1})
    assert joined.total.tolist() == [[0, 0], [0, 0], [0, 1]]
    assert joined.extra["note"] == [["row-11"] * 2, ["row-1"] * 2, ["row-10"] * 2]
    assert first.total.tolist() == [[0, 1], [0, 0], [0, 1]]  # as it was


def test_an_epoch_goes_from_easy_to_hard() -> None:
    ranks = [2.0, 0.0, 1.0, 0.0, 2.0, 0.0]
    sampler = BlockSampler(6, block=2, repeats=1, seed=0, shuffle=True, ranks=ranks)
    order = list(sampler)
    assert [ranks[place] for place in order] == sorted(ranks)
    sampler.set_epoch(1)
    orders = [order]
    for epoch in range(1, 6):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
    assert len({tuple(each) for each in orders}) > 1  # equal ones are shuffled


@pytest.mark.parametrize("value", ["null", '"3"', "true", "NaN"])
def test_a_row_without_a_number_is_named(value: str) -> None:
    rows = [
        {"row_id": "a.json:1", "columns": '{"level": 1}'},
        {"row_id": "a.json:2", "columns": f'{{"level": {value}}}'},
    ]
    with pytest.raises(ValueError, match=r"row a.json:2, column `level`: got .* expected a finite number"):
        curriculum_ranks(rows, "level")
    assert curriculum_ranks(rows[:1], "level") == [1.0]
    assert curriculum_ranks(rows, None) is None
