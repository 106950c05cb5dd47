"""Keys of served rollouts: what is refused before anything is loaded, and why."""

from typing import Any

import pytest

from llamafactory_hind.config import ConfigError, check_train
from llamafactory_hind.config.checks import defaults
from llamafactory_hind.config.keys.rollout_server import OWN, rollout_server_problems


SERVED = {
    **OWN,
    "rollout_engine": "vllm",
    "rollout_server": ["http://127.0.0.1:8000"],
    "rollout_top_p": 1.0,
    "rollout_top_k": 0,
}


def found(**changes: Any) -> dict[str, str]:
    return {problem.key: str(problem) for problem in rollout_server_problems({**SERVED, **changes})}


def test_a_server_needs_no_more_than_its_address() -> None:
    assert found() == {}
    assert found(rollout_server=["http://a:8000", "http://b:8000"]) == {}
    assert found(finetuning_type="full") == {}
    assert found(use_dora=True) == {}  # `auto` sends the whole model
    assert found(quantization_bit=4) == {}  # the adapter alone


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"rollout_server": None}, "rollout_server", "an address"),
        ({"rollout_top_p": 0.9}, "rollout_top_p", "rollout_correction: none"),
        ({"rollout_top_k": 50}, "rollout_top_k", "rollout_correction: none"),
        ({"rollout_sync": "lora", "finetuning_type": "full"}, "finetuning_type", "rollout_sync: full"),
        ({"rollout_sync": "lora", "use_dora": True}, "use_dora", "no DoRA"),
        ({"rollout_sync": "lora", "additional_target": "lm_head"}, "additional_target", "whole modules"),
        ({"rollout_sync": "lora", "freeze_vision_tower": False}, "freeze_vision_tower", "ignores it"),
        ({"rollout_sync": "full", "quantization_bit": 4}, "quantization_bit", "whole weights"),
        ({"rollout_sync_every": 0}, "rollout_sync_every", "1 or more"),
        ({"rollout_sync_every": 4, "save_steps": 6}, "save_steps", "a multiple of"),
        ({"rollout_correction_cap": 0.0}, "rollout_correction_cap", "above 0"),
        ({"rollout_timeout": 0}, "rollout_timeout", "above 0"),
        ({"rollout_max_retries": -1}, "rollout_max_retries", "0 or more"),
        ({"rollout_ahead": 2}, "rollout_ahead", "0 or 1"),
        ({"rollout_ahead": 1, "rollout_correction": "none"}, "rollout_correction", "token_truncate"),
        ({"rollout_ahead": 1, "num_iterations": 2}, "num_iterations", "remove one"),
        ({"temporal_weight": 0.3}, "temporal_weight", "rollout_engine: hf"),
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, Any], key: str, words: str) -> None:
    assert words in found(**changes)[key]


def test_top_p_and_top_k_may_be_had_without_correction() -> None:
    assert found(rollout_top_p=0.9, rollout_top_k=50, rollout_correction="none") == {}


def test_keys_that_nothing_reads_are_refused() -> None:
    problems = found(rollout_engine="hf", rollout_sync_every=2)
    assert set(problems) == {"rollout_server", "rollout_sync_every"}
    assert "rollout_engine: vllm" in problems["rollout_server"]


@pytest.mark.parametrize("stage", ["grpo", "external_grpo", "gated_distill"])
def test_every_online_stage_takes_a_server_and_checks_its_keys(stage: str) -> None:
    """One word for a list of one, as on a command line; an unknown way of correction is told the known ones."""
    given = {"stage": stage, "reward_funcs": ["accuracy"], "rollout_engine": "vllm"}
    known = {*defaults(), "stage"}
    with pytest.raises(ConfigError) as caught:
        check_train(
            {**given, "rollout_correction": "sequence", "rollout_server": "http://a:8000"}, known=known, host_stages=[]
        )
    assert [problem.key for problem in caught.value.problems if problem.key.startswith("rollout")] == [
        "rollout_correction"
    ]
    assert "sequence_mask" in str(caught.value)
