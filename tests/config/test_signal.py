"""Keys that say which completions of an online stage teach: what cannot work together is named before anything is loaded."""

from typing import Any

import pytest

from llamafactory_hind.config import ConfigError, check_train
from llamafactory_hind.config.checks import defaults


GOOD = {"stage": "grpo", "reward_funcs": ["accuracy"], "max_new_tokens": 64}


def problems(**changes: Any) -> dict[str, str]:
    known = {"stage", "max_new_tokens", "disable_shuffling", *defaults()}
    try:
        check_train({**GOOD, **changes}, known=known, host_stages=("sft",))
    except ConfigError as error:
        return {problem.key: str(problem) for problem in error.problems}
    return {}


def test_good_settings_pass() -> None:
    assert problems() == {}
    assert (
        problems(
            policy_loss="cispo",
            ratio_level="sequence",
            advantage_scale="batch",
            mask_truncated=True,
            overlong_buffer=64,
            group_reward_range=[0, 0.9],
            dynamic_sampling=True,
            curriculum_column="level",
        )
        == {}
    )
    assert problems(reward_normalization="each") == {}


@pytest.mark.parametrize(
    ("changes", "key", "says"),
    [
        ({"overlong_buffer": 65}, "overlong_buffer", "at most `max_new_tokens`, 64"),
        ({"overlong_buffer": -1}, "overlong_buffer", "0 or more"),
        ({"overlong_penalty": -0.5}, "overlong_penalty", "0 or more"),
        ({"group_reward_range": [0.9, 0.1]}, "group_reward_range", "the lowest first"),
        ({"group_reward_range": [0.9]}, "group_reward_range", "two numbers"),
        ({"reward_normalization": "each", "advantage_scale": "none"}, "advantage_scale", "`std`"),
        ({"curriculum_column": "level", "disable_shuffling": True}, "curriculum_column", "disable_shuffling"),
        ({"dynamic_sampling": True, "num_iterations": 2}, "num_iterations", "1 with `dynamic_sampling`"),
        ({"dynamic_sampling": True, "max_resample_times": 0}, "max_resample_times", "1 or more"),
        ({"policy_loss": "ppo"}, "policy_loss", "`clipped` or `cispo`"),
    ],
)
def test_each_mistake_is_named(changes: dict[str, Any], key: str, says: str) -> None:
    assert says in problems(**changes)[key]


def test_dynamic_sampling_belongs_to_grpo() -> None:
    assert "dynamic_sampling" in problems(stage="external_grpo", dynamic_sampling=True)
    assert problems(stage="external_grpo", mask_truncated=True) == {}
    assert problems(stage="gated_distill", ratio_level="sequence") == {}
