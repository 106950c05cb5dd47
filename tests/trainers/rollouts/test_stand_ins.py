"""A prompt that stands in for a bad row: nothing is learnt from its completions, and no mean has its rewards."""

import torch

from llamafactory_hind.engines.interface import FinishReason, Prompt, Request
from llamafactory_hind.trainers.rollouts.batch import batch_of
from llamafactory_hind.trainers.rollouts.components import Component
from llamafactory_hind.trainers.rollouts.metrics import rollout_metrics
from llamafactory_hind.trainers.rollouts.records import Annotation, Rollout, Scores


def annotation(*stand_in: bool) -> Annotation:
    """Groups of two completions of two tokens each, with rewards 0 and 1, 2 and 3, ..."""
    rollouts = [
        Rollout(
            {"row_id": str(number), "stands_in": True} if flag else {"row_id": str(number)},
            Prompt([5], [], Request(())),
            [[7, 8], [7, 9]],
            ["a", "b"],
            [FinishReason.STOP] * 2,
            ["policy"] * 2,
        )
        for number, flag in enumerate(stand_in)
    ]
    rewards = torch.arange(2.0 * len(stand_in)).view(-1, 2)
    return Annotation(rollouts, Scores(rewards), rewards - rewards.mean(1, keepdim=True))


def test_its_tokens_do_not_count() -> None:
    batch = batch_of(annotation(False, True), device=torch.device("cpu"))
    component = Component("policy", 1.0, lambda *streams: streams[0], "token")
    assert component.tokens(batch).tolist() == [[True, True], [True, True], [False, False], [False, False]]
    assert component.count(batch, length=2) == 4
    assert component.tokens(batch.take(torch.tensor([1, 2]))).tolist() == [[True, True], [False, False]]
    masked = Component("policy", 1.0, lambda *streams: streams[0], "token", mask=lambda batch: batch.tokens == 8)
    assert masked.tokens(batch).sum() == 1


def test_where_there_is_none_a_batch_is_as_ever() -> None:
    assert batch_of(annotation(False, False), device=torch.device("cpu")).counts is None


def test_its_rewards_are_in_no_mean() -> None:
    found = rollout_metrics(annotation(False, True))
    assert found["reward"].tolist() == [[0, 1]]
    assert found["completion_length"].tolist() == [[2, 2]]
