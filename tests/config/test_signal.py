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
            entropy_coef=0.01,
            entropy_target=0.2,
            reward_weights_end=[0.5],
            reward_weights_span=0.5,
            kl_beta=0.01,
            kl_in_reward=True,
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
        ({"rollout_tokens": 0}, "rollout_tokens", "1 or more, or null"),
        ({"rollout_tokens": 9, "rollout_engine": "vllm"}, "rollout_tokens", "null with `rollout_engine: vllm`"),
        ({"loss_micro_batch": 0}, "loss_micro_batch", "1 or more, or null"),
        ({"entropy_coef": -0.1}, "entropy_coef", "0 or more"),
        ({"entropy_target": 0.0}, "entropy_target", "a number above 0, or null"),
        ({"entropy_target_step": 0.0}, "entropy_target_step", "a number above 0"),
        ({"reward_weights_end": [1.0, 2.0]}, "reward_weights_end", "1 numbers"),
        ({"reward_weights_end": [0.0]}, "reward_weights_end", "other than 0"),
        ({"reward_weights_span": 0}, "reward_weights_span", "above 0"),
        ({"reward_weights_span": 1.5}, "reward_weights_span", "at most 1"),
        ({"kl_in_reward": True}, "kl_in_reward", "`kl_beta` above 0"),
        ({"policy_loss": "ppo"}, "policy_loss", "`clipped` or `cispo`"),
    ],
)
def test_each_mistake_is_named(changes: dict[str, Any], key: str, says: str) -> None:
    assert says in problems(**changes)[key]


def test_dynamic_sampling_belongs_to_grpo() -> None:
    assert "dynamic_sampling" in problems(stage="external_grpo", dynamic_sampling=True)
    assert "kl_in_reward" in problems(stage="gated_distill", kl_in_reward=True)
    assert problems(stage="external_grpo", mask_truncated=True) == {}
    assert problems(stage="gated_distill", ratio_level="sequence") == {}
