"""Fields of LLaMA Board: one for each key, read back into what YAML would say."""

import math
from typing import Any

import pytest

from llamafactory_hind.board.datasets import dataset_choices
from llamafactory_hind.board.fields import board_fields, fields_of
from llamafactory_hind.board.labels import GROUP_TITLES, LANGUAGES, NAMES, advanced_title, locales
from llamafactory_hind.board.saved import known_ids, only_changed
from llamafactory_hind.board.values import changed, is_changed, read, shown, typed
from llamafactory_hind.config import STAGES
from llamafactory_hind.config.checks import defaults, stages_of_keys


FIELDS = {field.key: field for field in board_fields()}


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_a_stage_has_a_field_for_each_of_its_keys(stage: str) -> None:
    ours = {key for key, stages in stages_of_keys().items() if stage in stages}
    assert ours <= {field.key for field in fields_of(stage)}
    for other in {key for key, stages in stages_of_keys().items() if stage not in stages}:
        assert other not in {field.key for field in fields_of(stage)}


def test_a_stage_of_the_host_has_none() -> None:
    assert fields_of("sft") == []


@pytest.mark.parametrize("key", sorted(FIELDS))
def test_an_untouched_field_is_its_default_and_is_not_written(key: str) -> None:
    field = FIELDS[key]
    assert read(field, shown(field)) == field.default
    for stage in field.stages:
        assert changed({key: shown(field)}, stage) == {}
    assert field.default == defaults().get(key)


@pytest.mark.parametrize(
    ("key", "typed", "value"),
    [
        ("num_generations", "16", 16),
        ("num_generations", 16, 16),
        ("clip_high", "0.28", 0.28),
        ("gate_threshold", "-.inf", -math.inf),
        ("hint_tags", False, False),
        ("reward_funcs", ["accuracy", "my.py:short"], ["accuracy", "my.py:short"]),
        ("reward_weights", "1, 0.5", [1.0, 0.5]),
        ("reward_weights", "[1, 0.5]", [1.0, 0.5]),
        ("ref_logps_cache", "null", None),
        ("ref_logps_cache", "", "auto"),
        ("external_max_per_group", "0", 0),
        ("advantage_scale", "batch", "batch"),
        ("kl_beta", "1e-3", 0.001),
        ("max_steps", "60", 60),
        ("teacher", " base ", "base"),
    ],
)
def test_what_is_typed_is_read(key: str, typed: Any, value: Any) -> None:
    assert read(FIELDS[key], typed) == value


@pytest.mark.parametrize(
    ("key", "typed"),
    [("num_generations", "2.5"), ("clip_low", "a"), ("reward_weights", "1,,2"), ("max_steps", "1e400")],
)
def test_what_is_no_number_is_named(key: str, typed: str) -> None:
    with pytest.raises(ValueError, match=rf"^{key}: got .* expected a (whole )?number"):
        read(FIELDS[key], typed)


def test_only_changes_of_the_stage_are_written() -> None:
    values = {field.key: shown(field) for field in board_fields()} | {
        "hint_tags": False,
        "num_generations": "4",
        "kepo_beta": "9",
    }
    assert changed(values, "gated_distill") == {"hint_tags": False, "num_generations": 4}
    assert changed(values, "kepo") == {"kepo_beta": 9.0}


def test_every_field_has_labels_in_every_language() -> None:
    found = locales()
    assert set(NAMES) <= set(FIELDS)
    for field in board_fields():
        assert set(found[field.name]) == set(LANGUAGES)
        for words in found[field.name].values():
            assert field.key in words["label"]
            assert "<" not in words["info"]
            assert "[ours]" not in words["info"]
            assert not words["info"].startswith(("Online stages", "gated_distill", "kepo"))
    assert found["hind_num_generations"]["zh"]["label"] == "每题回答数 · num_generations"


def test_a_saved_file_holds_changes_alone() -> None:
    saved = {"train.dataset": ["a"], "train.hind_kepo_beta": "0.1", "train.hind_num_generations": "4"}
    assert only_changed(saved, "grpo") == {"train.dataset": ["a"], "train.hind_num_generations": "4"}
    assert only_changed(saved, "sft") == {"train.dataset": ["a"]}
    lines: list[str] = []
    loaded = known_ids(
        {"train.dataset": ["a"], "train.hind_old_key": 1, "train.hind_num_generations": "4"}, lines.append
    )
    assert loaded["train.hind_num_generations"] == "4"
    assert loaded["train.hind_clip_low"] == "0.2"
    assert "train.hind_old_key" not in loaded
    assert "old_key" in lines[0]


def test_datasets_of_a_stage() -> None:
    info = {"plain": {}, "pairs": {"ranking": True}, "prompts": {"formatting": "rollout"}}
    assert dataset_choices(info, "grpo") == ["prompts", "plain"]
    assert dataset_choices(info, "kepo") == ["pairs"]
    both = {"formatting": "hindsight", "target": "multitask"}
    assert dataset_choices({**info, "both": both}, "reason_sft") == ["both", "plain", "prompts"]


def test_what_yaml_says_is_typed_and_read_again() -> None:
    cases = {
        "reward_funcs": ["accuracy", "format"],
        "reward_weights": [1.0, 0.5],
        "gate_threshold": -math.inf,
        "hint_tags": False,
        "ref_logps_cache": None,
        "num_generations": 4,
        "advantage_scale": "none",
        "teacher": "base",
        "eval_dataset": ["a"],
    }
    for key, value in cases.items():
        assert read(FIELDS[key], typed(FIELDS[key], value)) == value
        assert is_changed(FIELDS[key], typed(FIELDS[key], value))
    assert not is_changed(FIELDS["num_generations"], "8")
    assert is_changed(FIELDS["num_generations"], "x")


def test_every_key_has_a_group_with_a_title() -> None:
    assert {field.group for field in board_fields()} <= set(GROUP_TITLES)
    assert FIELDS["hint_samples"].group == "hints"
    assert FIELDS["kl_beta"].group == "rollouts"
    assert FIELDS["distill_beta"].group == "teacher"


def test_the_folded_half_counts_its_changes() -> None:
    assert advanced_title(0, "en") == "Advanced"
    assert advanced_title(2, "en") == "Advanced · 2 changed"
    assert advanced_title(2, "zh") == "高级 · 已改动 2 项"
