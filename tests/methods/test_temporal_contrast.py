"""The bonus of T-GRPO by hand, with an engine that writes what the test says."""

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from llamafactory_hind.engines.interface import Completion, FinishReason, Prompt, Request, Sampling
from llamafactory_hind.methods.comparison import GroupComparison
from llamafactory_hind.methods.temporal_contrast import TemporalContrast, TemporalOptions, check_clips
from llamafactory_hind.storage.clip_names import parse_clip
from llamafactory_hind.trainers.rollouts.records import Rollout, Scores


SAMPLING = Sampling(n=4, temperature=1.0, top_p=1.0, top_k=0, max_new_tokens=8, seed=0)


class Written:
    """Writes `right` or `wrong` for every prompt, as it is told, and remembers what it was asked."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self.asked: list[tuple[Prompt, str, Sampling]] = []

    def generate_prompts(self, prompts: Any, keys: Any, sampling: Sampling) -> list[list[Completion]]:
        self.asked += [(prompt, key, sampling) for prompt, key in zip(prompts, keys, strict=True)]
        return [[Completion(text, (1,), None, FinishReason.STOP) for text in self.texts] for _ in prompts]


def rollout(texts: list[str], videos: list[str]) -> Rollout:
    feature = {"row_id": "r", "prompt_input_ids": [5, 6], "columns": "{}"}
    prompt = Prompt([5, 6], [], Request([], videos=videos))
    ids = [[number] for number in range(len(texts))]
    return Rollout(feature, prompt, ids, texts, [FinishReason.STOP] * len(texts), ["policy"] * len(texts))


def score(rollouts: list[Rollout]) -> Scores:
    """Return 1 for `right`, and a second reward of 0.5 for all."""
    first = torch.tensor([[float(text == "right") for text in one.texts] for one in rollouts], dtype=torch.float64)
    return Scores(first + 0.5, {"accuracy": first, "format": torch.full_like(first, 0.5)})


def contrast(shuffled: list[str], **options: float) -> tuple[TemporalContrast, Written]:
    engine = Written(shuffled)
    given = TemporalOptions(**{"weight": 0.3, "ratio": 0.8, "generations": len(shuffled), **options})
    made = TemporalContrast(given, engine=engine, sampling=SAMPLING, score=score, precision=nullcontext)  # type: ignore[arg-type]
    return made, engine


@pytest.mark.parametrize(
    ("ordered", "shuffled", "wins"),
    [
        (["right", "right", "wrong", "wrong"], ["right", "wrong"], True),  # 0.5 >= 0.8 * 0.5
        (["right", "wrong", "wrong", "wrong"], ["right", "wrong"], False),  # 0.25 < 0.4
        (["wrong"] * 4, ["wrong", "wrong"], True),  # 0 >= 0, and nobody is right
        (["right"] * 4, ["right", "right"], True),
    ],
)
def test_right_answers_gain_where_order_does_not_hurt(ordered: list[str], shuffled: list[str], wins: bool) -> None:
    method, engine = contrast(shuffled)
    rollouts = [rollout(ordered, ["v.mp4#t=0,4"])]
    scores, metrics = method.rewarded(rollouts, score(rollouts))
    right = [text == "right" for text in ordered]
    assert scores.total[0].tolist() == pytest.approx([0.5 + one + 0.3 * (one and wins) for one in right])
    assert scores.each["temporal_contrast"][0].tolist() == [float(one and wins) for one in right]
    assert metrics["temporal/won"].tolist() == [float(wins)]
    assert metrics["temporal/lead"].tolist() == pytest.approx(
        [sum(right) / 4 - sum(text == "right" for text in shuffled) / 2]
    )
    ((prompt, _, sampling),) = engine.asked
    assert sampling.n == 2
    assert prompt.input_ids == [5, 6]
    assert parse_clip(prompt.request.videos[0]).shuffle is not None


def test_prompts_without_clips_stay_as_they_are() -> None:
    method, engine = contrast(["right", "right"])
    rollouts = [rollout(["right", "wrong", "wrong", "wrong"], []), rollout(["right"] * 4, ["v.mp4#t=0,4"])]
    scores, metrics = method.rewarded(rollouts, score(rollouts))
    assert scores.total[0].tolist() == [1.5, 0.5, 0.5, 0.5]
    assert scores.each["temporal_contrast"][0].isnan().all()
    assert scores.total[1].tolist() == pytest.approx([1.8] * 4)
    assert metrics["temporal/won"].isnan().tolist() == [True, False]
    assert len(engine.asked) == 1


def test_a_resumed_run_shuffles_alike_and_another_step_otherwise() -> None:
    method, engine = contrast(["right", "right"])
    for texts in (["right"] * 4, ["right"] * 4, ["right"] * 3):
        rollouts = [rollout(texts, ["v.mp4#t=0,4"])]
        method.rewarded(rollouts, score(rollouts))
    first, again, other = ((prompt.request.videos, key) for prompt, key, _ in engine.asked)
    assert first == again
    assert first != other


def test_the_default_is_half_a_group() -> None:
    keys: Any = SimpleNamespace(temporal_weight=0.3, temporal_ratio=0.8, temporal_generations=None, num_generations=8)
    assert TemporalOptions.of(keys).generations == 4


@pytest.mark.parametrize("videos", [["v.mp4"], []])
def test_rows_without_clips_are_refused(videos: list[str]) -> None:
    with pytest.raises(ValueError, match="video_reasoning"):
        check_clips({"place": ["d.json, row 1"], "videos": [videos]})


def test_the_bonus_has_its_own_weight_where_rewards_are_compared_one_by_one() -> None:
    """`reward_normalization: each`: advantages of accuracy and of the bonus add up, the second times `temporal_weight`."""
    keys: Any = SimpleNamespace(
        **{
            "advantage_scale": "std",
            "reward_normalization": "each",
            "mask_truncated": False,
            "group_reward_range": None,
        },
        **{"overlong_buffer": 0, "overlong_penalty": 1.0, "temporal_weight": 0.3, "reward_weights_end": None},
    )
    method, _ = contrast(["right", "wrong"])
    rollouts = [rollout(["right", "right", "wrong", "wrong"], ["v.mp4#t=0,4"])]
    scores, _ = method.rewarded(rollouts, score(rollouts))
    advantages = GroupComparison(keys, [1.0, 1.0]).advantages(scores)
    plain = replace(scores, each={"accuracy": scores.each["accuracy"]})
    expected = GroupComparison(keys, [1.3]).advantages(plain)  # the bonus is given to the same two
    torch.testing.assert_close(advantages, expected)
