"""The gate by hand: what passes, what is right, what is watched; and the lines of a completion."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from llamafactory_hind.losses.distill import step_weights
from llamafactory_hind.losses.reduce import masked_sum
from llamafactory_hind.methods.distillation.gate import GATE, MONITORED, Gate, distill_component
from llamafactory_hind.methods.distillation.steps import LineSegments
from llamafactory_hind.rewards import get_reward
from llamafactory_hind.trainers.rollouts.batch import RolloutBatch
from llamafactory_hind.trainers.rollouts.records import Annotation, Rollout, Scores


NAN = float("nan")
ACCURACY = torch.tensor([[1.0, 0.0, 0.5, NAN], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
FORMAT = torch.tensor([[0.0, 1.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
SCORES = Scores(ACCURACY.nan_to_num() + FORMAT, {"accuracy": ACCURACY, "format": FORMAT})


@pytest.mark.parametrize(
    ("reward", "threshold", "passes", "right"),
    [
        ("accuracy", 1.0, [[1, 0, 0, 0], [0, 0, 0, 0]], [[1, 0, 0, 0], [0, 0, 0, 0]]),
        ("accuracy", 0.5, [[1, 0, 1, 0], [0, 0, 0, 0]], [[1, 0, 1, 0], [0, 0, 0, 0]]),
        ("accuracy", 0.0, [[1, 1, 1, 0], [1, 1, 1, 1]], [[1, 1, 1, 0], [1, 1, 1, 1]]),  # no reward passes no gate
        ("accuracy", -math.inf, [[1, 1, 1, 1], [1, 1, 1, 1]], [[1, 0, 0, 0], [0, 0, 0, 0]]),
        # the official rule lets a well-formatted wrong answer through; what is right is said by the first reward alone
        ("total", 1.0, [[1, 1, 1, 1], [1, 0, 0, 0]], [[1, 0, 0, 0], [0, 0, 0, 0]]),
    ],
)
def test_what_passes_and_what_is_right(reward: str, threshold: float, passes: list, right: list) -> None:
    gate = Gate(reward, threshold, ["accuracy", "format"])
    assert gate.passes(SCORES).int().tolist() == passes
    assert gate.right(SCORES).int().tolist() == right


def test_an_unknown_reward_lists_those_there_are() -> None:
    with pytest.raises(ValueError, match="accuracy, format or `total`"):
        Gate("acuracy", 1.0, ["accuracy", "format"])


def rollout(lengths: list[int], sources: list[str]) -> Rollout:
    count = len(lengths)
    return Rollout(
        {"row_id": "r"}, None, [[5] * length for length in lengths], [""] * count, ["stop"] * count, sources
    )


def test_streams_and_metrics() -> None:
    """Group 1: one of four passes, with 2 tokens; the first refused is watched. Group 2: none passes. 1 of 8 is hinted, 4 of 20 tokens."""
    rollouts = [rollout([2, 3, 3, 4], ["policy", "policy", "policy", "hinted"]), rollout([2] * 4, ["policy"] * 4)]
    streams, metrics = Gate("accuracy", 1.0, ["accuracy"]).streams(Annotation(rollouts, SCORES, torch.zeros(2, 4)))
    assert streams[GATE].tolist() == [[1, 0, 0, 0], [0, 0, 0, 0]]
    assert streams[MONITORED].tolist() == [[0, 1, 0, 0], [1, 0, 0, 0]]
    means = {name: values.mean().item() for name, values in metrics.items()}
    assert means == pytest.approx(
        {"gate/pass_rate": 1 / 8, "gate/prompts_without": 0.5, "gate/tokens": 1.0, "hints/kept_share": 1 / 8,
         "hints/token_share": 4 / 20}
    )  # fmt: skip


def batch(gate: list[float], divergence: torch.Tensor, **streams: torch.Tensor) -> RolloutBatch:
    rows, width = divergence.shape
    made = RolloutBatch(
        [], torch.zeros(rows, dtype=torch.long), torch.zeros(rows, width, dtype=torch.long),
        torch.ones(rows, width, dtype=torch.bool), torch.zeros(rows),
        {GATE: torch.tensor(gate), MONITORED: 1 - torch.tensor(gate)}, ["policy"] * rows,
    )  # fmt: skip
    made.token_streams = {"divergence": divergence, **streams}
    return made


def test_the_loss_is_the_mean_over_the_tokens_that_pass() -> None:
    """Two of three completions pass: (1 + 2 + 5 + 6) / 4 = 3.5; closed on all it is 0 with a live graph."""
    divergence = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], requires_grad=True)
    component, logps = distill_component(1.0, None), torch.zeros(3, 2)
    for gate, loss, gradient in (([1.0, 0.0, 1.0], 3.5, 0.25), ([0.0] * 3, 0.0, 0.0)):
        made = batch(gate, divergence)
        mask = component.tokens(made)
        total = masked_sum(component.per_token(logps, logps, None, made), mask, reduction=component.reduction)
        value = total / max(component.count(made, length=2), 1.0)
        assert value.item() == pytest.approx(loss)
        (found,) = torch.autograd.grad(value, divergence)
        assert found.tolist() == [[gradient * open_] * 2 for open_ in gate]
    metrics = component.metrics(logps, logps, None, batch([1.0, 0.0, 1.0], divergence.detach()))
    assert metrics["divergence/passed"].nanmean().item() == pytest.approx(3.5)
    assert metrics["divergence/refused"].nanmean().item() == pytest.approx(3.5)
    assert metrics["divergence/refused"][0].isnan().all()


class Words:
    """Token 0 is a word, 1 a word and a line break, 2 a line break, 3 a space."""

    def decode(self, ids: list[int]) -> str:
        return ["word", "word\n", "\n", " "][ids[0]]


def test_lines_of_completions() -> None:
    """A break belongs to the line it ends, blank lines and spaces to the line before; padding is -1."""
    tokens = torch.tensor([[0, 1, 2, 0, 2, 3, 0], [2, 2, 0, 1, 0, 0, 0]])
    mask = torch.tensor([[1] * 7, [1] * 5 + [0] * 2]).bool()
    made: Any = SimpleNamespace(tokens=tokens, mask=mask)
    assert LineSegments(Words())(made).tolist() == [[0, 0, 0, 1, 1, 1, 2], [0, 0, 1, 1, 2, -1, -1]]


def test_step_weights_multiply_the_divergence() -> None:
    """Two lines, |log pi - log pi_T| 1 and 3: the second line counts (1 + eps) / (3 + eps), the first 1."""
    divergence = torch.ones(1, 2)
    made = batch([1.0], divergence, teacher_logps=torch.tensor([[-2.0, -4.0]]))
    component = distill_component(1.0, lambda _: torch.tensor([[0, 1]]))
    logps = torch.tensor([[-1.0, -1.0]])
    expected = step_weights(logps, torch.tensor([[-2.0, -4.0]]), torch.tensor([[0, 1]]), eps=1e-4, delta=0.2)
    found = component.per_token(logps, logps, None, made)
    assert found.tolist() == expected.tolist()
    assert found.tolist()[0] == pytest.approx([1.0, 1.0001 / 3.0001])


@pytest.mark.parametrize("name", ["accuracy", "math", "numeric_tolerance"])
@pytest.mark.parametrize(
    ("gold", "answers", "passes"),
    [
        ("1, 2, 3", ["1,2,3", "1, 2 and 3", "3, 2, 1", "1, 2", "9, 2, 3", "3"], [1, 1, 0, 0, 0, 0]),
        ("{1, 2, 3}", ["{3, 1, 2}", "1,2,3", "{1, 2}", "{1, 2, 2}", "{1, 2, 3, 4}", "6"], [1, 1, 0, 0, 0, 0]),
        ("red, blue", ["red,blue", "red and blue", "blue, red", "red", "red, green", "blue"], [1, 1, 0, 0, 0, 0]),
    ],
)
def test_an_answer_of_several_parts_passes_as_a_whole(
    name: str, gold: str, answers: list[str], passes: list[int]
) -> None:
    """Between tags, as `gated_distill` writes; a part of the answer opens no gate and ends no exploration."""
    gate = Gate(name, 1.0, [name])
    rewards = get_reward(name)([f"<think>x</think><answer>{one}</answer>" for one in answers], answer=[gold] * 6)
    scores = Scores(torch.tensor([rewards]), {name: torch.tensor([rewards])})
    assert gate.passes(scores).int().tolist() == [passes]
    assert gate.right(scores).int().tolist() == [passes]
