"""Ways to split a model: refused in the same words for a file, for the environment of a launcher, and in the trainer."""

import json
from types import SimpleNamespace

import pytest
from accelerate.utils import DistributedType

from llamafactory_hind.config import ROWS, ConfigError, check_train
from llamafactory_hind.config.checks import defaults
from llamafactory_hind.config.sharding import NAMES, WHY_NOT
from llamafactory_hind.trainers.sharding import refuse_sharding, sharding_of


TOWERS = ("freeze_vision_tower", "freeze_multi_modal_projector")
KNOWN = {*defaults(), *TOWERS, "stage", "fsdp", "fsdp_config", "deepspeed"}
FSDP2 = {"fsdp": "full_shard", "fsdp_config": {"version": 2}}
ZERO_3 = {"zero_optimization": {"stage": 3}}
NEEDED = {"critic": {}, "matching": {}, "pairs": {}, "multitask": {}, "prompts": {"reward_funcs": ["accuracy"]}}


def problems(stage: str, settings: dict | None = None, environ: dict | None = None) -> dict[str, str]:
    """Return key -> expectation and remedy."""
    given = {"stage": stage, **NEEDED[ROWS[stage]], **(settings or {})}
    try:
        check_train(given, known=KNOWN, host_stages=["sft"], environ=environ or {})
    except ConfigError as error:
        return {problem.key: f"{problem.expected}. {problem.remedy}" for problem in error.problems}
    return {}


@pytest.mark.parametrize("stage", sorted(ROWS))
def test_the_words_are_the_same_whoever_asks(stage: str, tmp_path) -> None:
    (tmp_path / "zero3.json").write_text(json.dumps(ZERO_3))
    asked = {
        "zero_3": [
            ({"deepspeed": ZERO_3}, {}),
            ({"deepspeed": str(tmp_path / "zero3.json")}, {}),
            ({}, {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}),
            (
                {},
                {
                    "ACCELERATE_USE_DEEPSPEED": "1",
                    "ACCELERATE_DEEPSPEED_CONFIG_FILE": str(tmp_path / "zero3.json"),
                },
            ),
        ],
        "fsdp_1": [
            ({"fsdp": "full_shard auto_wrap"}, {}),
            ({"fsdp": ["full_shard"], "fsdp_config": {"fsdp_version": 1}}, {}),
            ({}, {"ACCELERATE_USE_FSDP": "true"}),
            ({}, {"ACCELERATE_USE_FSDP": "1", "FSDP_VERSION": "1"}),
        ],
        "fsdp_2": [(FSDP2, {}), ({}, {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"})],
        "megatron": [({}, {"ACCELERATE_USE_MEGATRON_LM": "true"})],
    }
    assert asked.keys() == NAMES.keys()
    for sharding, ways in asked.items():
        found = [problems(stage, *way) for way in ways]
        refused = sharding in WHY_NOT[ROWS[stage]]
        assert all(len(one) == refused for one in found)
        words = {text for one in found for text in one.values()}
        if refused:
            assert words == {f"no {NAMES[sharding]}. {WHY_NOT[ROWS[stage]][sharding]}"}
            with pytest.raises(ValueError, match=NAMES[sharding]) as error:
                refuse_sharding(accelerator(sharding), ROWS[stage])
            assert words.pop() in str(error.value)
        else:
            refuse_sharding(accelerator(sharding), ROWS[stage])


def accelerator(sharding: str | None) -> SimpleNamespace:
    """An accelerator as the launcher made it."""
    kinds = {"zero_3": "DEEPSPEED", "fsdp_1": "FSDP", "fsdp_2": "FSDP", "megatron": "MEGATRON_LM", None: "MULTI_CPU"}
    state = SimpleNamespace(deepspeed_plugin=SimpleNamespace(zero_stage=3 if sharding == "zero_3" else 2))
    return SimpleNamespace(
        distributed_type=DistributedType[kinds[sharding]], is_fsdp2=sharding == "fsdp_2", state=state
    )


def test_what_splits_nothing_passes() -> None:
    for stage in ROWS:
        assert problems(stage, {"deepspeed": {"zero_optimization": {"stage": 2}}}) == {}
        environment = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"}
        assert problems(stage, environ={**environment, "ACCELERATE_USE_FSDP": "false"}) == {}
        assert problems(stage, environ={"ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}) == {}  # nobody uses it
    assert check_train({"stage": "sft"}, known=KNOWN, host_stages=["sft"], environ={"ACCELERATE_USE_FSDP": "1"}) == []
    for rows in WHY_NOT:
        refuse_sharding(accelerator(None), rows)
    assert sharding_of(accelerator(None)) is None
    zero_2 = accelerator("zero_3")
    zero_2.state.deepspeed_plugin.zero_stage = 2
    assert sharding_of(zero_2) is None


def test_fsdp_config_alone_does_nothing_and_is_said() -> None:
    assert set(problems("kepo", {"fsdp_config": {"version": 2}})) == {"fsdp_config"}
    assert problems("kepo", {"fsdp_config": {}}) == {}


def test_what_fsdp2_cannot_do_with_these_rows_is_said() -> None:
    """Towers in training, of which processes call other numbers; weights that one process alone has read."""
    assert set(problems("grpo", {**FSDP2, "loss_micro_batch": 2})) == {"loss_micro_batch"}
    for key in TOWERS:
        assert set(problems("grpo", {**FSDP2, key: False})) == {key}
        assert problems("kepo", {**FSDP2, key: False}) == {}
        assert problems("grpo", {key: False}) == {}
    lean = {"fsdp": "full_shard", "fsdp_config": {"version": 2, "cpu_ram_efficient_loading": True}}
    environment = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}
    for stage in (stage for stage, rows in ROWS.items() if "fsdp_2" not in WHY_NOT[rows]):
        assert set(problems(stage, lean)) == {"fsdp_config.cpu_ram_efficient_loading"}
        assert set(problems(stage, environ=environment)) == {"FSDP_CPU_RAM_EFFICIENT_LOADING"}


def test_the_hosts_own_entry_sees_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `accelerate launch` starts it, before a model is looked for; nothing of it is in the file."""
    from llamafactory.train.tuner import get_train_args

    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "1")
    given = {"stage": "grpo", "model_name_or_path": "/nowhere", "output_dir": "/nowhere", "reward_funcs": ["accuracy"]}
    with pytest.raises(ConfigError, match="ACCELERATE_USE_FSDP: got 'true', expected no FSDP"):
        get_train_args(given)
