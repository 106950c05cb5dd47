"""Keys of served rollouts: what is refused before anything is loaded, and why."""

from typing import Any

import pytest

from shared.stages import found_problems


BASE = {"stage": "grpo", "reward_funcs": ["accuracy"]}
SERVED = {**BASE, "rollout_engine": "vllm", "rollout_server": "http://127.0.0.1:8000"}


def test_a_server_needs_no_more_than_its_address() -> None:
    assert found_problems(SERVED) == {}
    assert found_problems({**SERVED, "rollout_server": ["http://a:8000", "http://b:8000"]}) == {}
    assert found_problems({**SERVED, "stage": "external_grpo"}) == {}
    assert found_problems({**SERVED, "finetuning_type": "full"}) == {}
    assert found_problems({**SERVED, "use_dora": True}) == {}  # `auto` sends the whole model


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
        ({"rollout_correction": "sequence"}, "rollout_correction", "sequence_mask"),
        ({"temporal_weight": 0.3, "rollout_engine": "vllm"}, "temporal_weight", "rollout_engine: hf"),
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, Any], key: str, words: str) -> None:
    found = found_problems({**SERVED, **changes})
    assert words in found[key]


def test_top_p_and_top_k_may_be_had_without_correction() -> None:
    assert found_problems({**SERVED, "rollout_top_p": 0.9, "rollout_top_k": 50, "rollout_correction": "none"}) == {}


def test_keys_that_nothing_reads_are_refused() -> None:
    found = found_problems({**BASE, "rollout_server": "http://127.0.0.1:8000", "rollout_sync_every": 2})
    assert set(found) == {"rollout_server", "rollout_sync_every"}
    assert "rollout_engine: vllm" in found["rollout_server"]
