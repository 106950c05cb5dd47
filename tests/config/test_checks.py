"""The checks before anything is loaded: every problem at once, each with key, value, expectation and remedy."""

import json
from dataclasses import fields

import pytest

from llamafactory_hind.config import (
    DATA_ARGUMENTS,
    FINETUNING_ARGUMENTS,
    LABELS,
    PAIR_STAGES,
    STAGES,
    ConfigError,
    check_train,
    settings,
    stage_of_file,
)
from llamafactory_hind.config.checks import defaults
from llamafactory_hind.config.keys.share_prefix import SharePrefixArguments
from llamafactory_hind.config.registry import CHECKS
from llamafactory_hind.config.sharding import zero_stage
from llamafactory_hind.config.stages.kepo import Arguments as KepoArguments
from llamafactory_hind.config.types import fits, nearest


UNSUPPORTED = {  # switches of the host that kepo cannot honour
    "streaming", "packing", "neat_packing", "train_on_prompt", "mask_history", "predict_with_generate", "do_predict",
    "pissa_init", "pissa_convert", "group_by_length",
}  # fmt: skip
HOST_STAGES = ("pt", "sft", "rm", "ppo", "dpo", "kto")
HOST_KEYS = {
    "stage",
    "dataset",
    "learning_rate",
    "streaming",
    "packing",
    "ref_model",
    "ref_model_adapters",
    "deepspeed",
}
HOST_KEYS |= {"pref_beta", "pref_loss", "ppo_target", "reward_model", "do_train", "do_sample", *UNSUPPORTED}
KNOWN = HOST_KEYS | set(defaults())


def problems(given: dict, **options) -> dict[str, str]:
    """Return key -> line of the problems found."""
    try:
        check_train(given, known=KNOWN, host_stages=HOST_STAGES, **options)
    except ConfigError as error:
        return {problem.key: str(problem) for problem in error.problems}
    return {}


def test_the_contract_names_keys_and_defaults() -> None:
    assert {entry.name: entry.default for entry in fields(KepoArguments)} == {
        "kepo_beta": 0.1,
        "kepo_loss": "sigmoid",
        "kepo_gap_weight": False,
        "kepo_nll_weight": 0.0,
        "ref_logps_cache": "auto",
    }
    assert defaults()["share_prefix"] == "auto"
    assert defaults()["skip_bad_rows"] is False


def test_every_stage_is_complete() -> None:
    assert set(STAGES) == set(LABELS) == set(CHECKS)
    assert set(STAGES) >= PAIR_STAGES


@pytest.mark.parametrize("owner", [*FINETUNING_ARGUMENTS, *DATA_ARGUMENTS])
def test_every_key_has_help_that_names_its_source(owner: type) -> None:
    for entry in fields(owner):
        assert entry.metadata["help"].rstrip(".").endswith(("[ours]", "[2nd]", "[C]", "[C code]")), entry.name


def test_the_two_keppos_are_told_apart() -> None:
    assert "Knowledge Encouragement" in LABELS["kepo"]
    assert "HinD" in LABELS["kepo"]


def test_good_settings_pass() -> None:
    good = {"stage": "kepo", "kepo_beta": 1, "kepo_loss": "length_normalized", "kepo_gap_weight": True}
    good |= {"ref_logps_cache": None, "share_prefix": "on", "skip_bad_rows": True, "packing": None, "streaming": False}
    assert problems(good) == {}
    assert problems({}) == {}
    assert problems({"stage": "dpo", "pref_beta": 0.2, "streaming": True, "skip_bad_rows": True}) == {}


def test_all_problems_come_at_once() -> None:
    bad = {
        "stage": "kepo",
        "kepo_bata": 0.3,
        "learning_rat": 1.0,
        "kepo_beta": -1,
        "kepo_nll_weight": -0.5,
        "kepo_loss": "hinge",
        "kepo_gap_weight": "maybe",
        "pref_loss": "ipo",
        "streaming": True,
        "ref_model_adapters": "a",
    }
    found = problems(bad)
    assert set(found) == set(bad) - {"stage"}
    assert "`kepo_beta`" in found["kepo_bata"]
    assert "`learning_rate`" in found["learning_rat"]
    assert found["kepo_beta"] == "kepo_beta: got -1, expected a number above 0. The default is 0.1."
    assert "`sigmoid` or `length_normalized`" in found["kepo_loss"]
    assert "true or false" in found["kepo_gap_weight"]
    assert "`kepo_loss`" in found["pref_loss"]
    assert "finite set" in found["streaming"]
    assert "`ref_model`" in found["ref_model_adapters"]


@pytest.mark.parametrize("key", sorted(UNSUPPORTED))
def test_each_unsupported_key_is_refused_and_its_absence_is_not(key: str) -> None:
    assert list(problems({"stage": "kepo", key: True})) == [key]
    assert problems({"stage": "kepo", key: False}) == {}
    assert problems({"stage": "sft", key: True}) == {}


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("kepo_beta", "abc", "a finite number"),
        ("kepo_beta", True, "a finite number"),
        ("kepo_beta", float("nan"), "a finite number"),
        ("kepo_beta", 0, "above 0"),
        ("kepo_beta", None, "a finite number"),
        ("kepo_gap_weight", 1, "true or false"),
        ("ref_logps_cache", 3, "text or null"),
        ("ref_logps_cache", "/", "the path of a file"),
        ("share_prefix", "maybe", "`auto` or `on` or `off`"),
        ("skip_bad_rows", "no", "true or false"),
        ("ppo_target", 6.0, "`stage: ppo`"),
        ("reward_model", "r", "`stage: ppo`"),
    ],
)
def test_each_bad_value_is_named(key: str, value: object, says: str) -> None:
    found = problems({"stage": "kepo", key: value})
    assert list(found) == [key]
    assert says in found[key]
    assert repr(value) in found[key]


def test_a_key_of_another_stage_is_refused_not_ignored() -> None:
    assert "`stage: kepo`" in problems({"stage": "sft", "kepo_beta": 0.1})["kepo_beta"]
    assert set(problems({"stage": "dpo", "kepo_loss": "nonsense", "share_prefix": "on"})) == {
        "kepo_loss",
        "share_prefix",
    }
    assert set(problems({"kepo_beta": 0.1})) == {"kepo_beta"}  # the host's default stage is sft


def test_an_unknown_stage_names_the_nearest_and_nothing_else() -> None:
    found = problems({"stage": "keppo", "kepo_beta": 0.1})
    assert set(found) == {"stage"}
    assert "`kepo`" in found["stage"]


def test_the_hosts_lenience_is_kept_but_not_silent() -> None:
    given = {"stage": "kepo", "kepo_bata": 0.3}
    warnings = check_train(given, known=KNOWN, host_stages=HOST_STAGES, allow_extra_keys=True)
    assert len(warnings) == 1
    assert "`kepo_beta`" in warnings[0]
    assert set(problems({**given, "kepo_beta": -1}, allow_extra_keys=True)) == {"kepo_beta"}


def test_megatron_is_refused() -> None:
    assert set(problems({"stage": "kepo"}, use_mca=True)) == {"USE_MCA"}
    assert problems({"stage": "sft"}, use_mca=True) == {}


def test_nearest_prefers_the_stages_own_keys_and_admits_defeat() -> None:
    """`beta` is as like `pref_beta` (8/13) as `kepo_beta`; the stage decides."""
    assert nearest("beta", ["pref_beta", "kepo_beta"], {"kepo_beta"}) == "kepo_beta"
    assert nearest("beta", ["pref_beta", "kepo_beta"], {"pref_beta"}) == "pref_beta"
    assert nearest("zzzz", ["pref_beta"]) is None
    assert nearest("x", []) is None


def test_zero_3_is_refused_from_a_file_and_from_a_mapping(tmp_path) -> None:
    for stage in (2, 3):
        (tmp_path / f"z{stage}.json").write_text(json.dumps({"zero_optimization": {"stage": stage}}))
    assert problems({"stage": "kepo", "deepspeed": str(tmp_path / "z2.json")}) == {}
    assert "ZeRO-2" in problems({"stage": "kepo", "deepspeed": str(tmp_path / "z3.json")})["deepspeed"]
    assert set(problems({"stage": "kepo", "deepspeed": {"zero_optimization": {"stage": 3}}})) == {"deepspeed"}
    assert problems({"stage": "dpo", "deepspeed": str(tmp_path / "z3.json")}) == {}
    assert zero_stage(str(tmp_path / "absent.json")) is None
    assert zero_stage({"zero_optimization": True}) is None
    assert zero_stage(None) is None


def test_yaml_reads_on_and_off_as_booleans_and_we_mean_the_words() -> None:
    assert problems({"stage": "kepo", "share_prefix": False}) == {}
    assert SharePrefixArguments(share_prefix=False).share_prefix == "off"  # type: ignore[arg-type]
    assert SharePrefixArguments(share_prefix=True).share_prefix == "on"  # type: ignore[arg-type]
    assert SharePrefixArguments().share_prefix == "auto"


def test_whole_numbers_are_numbers_but_booleans_are_not() -> None:
    assert fits(1, float)
    assert not fits(True, float)
    assert not fits(True, int)
    assert fits(None, str | None)
    assert not fits(None, str)


def test_flags_are_read_as_the_hosts_parser_reads_them() -> None:
    words = (
        "--stage kepo --kepo-beta=0.2 --kepo_gap_weight --dataset a b --deepspeed {} --ref_logps_cache x.jsonl --n -3"
    )
    assert settings(words.split()) == {
        "stage": "kepo",
        "kepo_beta": 0.2,
        "kepo_gap_weight": True,
        "dataset": ["a", "b"],
        "deepspeed": {},
        "ref_logps_cache": "x.jsonl",
        "n": -3,
    }
    assert settings(["--no_do_sample", "--kepo_b", "2"], KNOWN) == {"do_sample": False, "kepo_beta": 2}
    assert settings(["--kepo", "2"], KNOWN) == {"kepo": 2}  # the beginning of several keys is none of them


def test_settings_copies_a_mapping() -> None:
    given = {"stage": "kepo"}
    assert settings(given) == given
    assert settings(given) is not given


@pytest.mark.parametrize(
    ("name", "text", "words", "stage"),
    [
        ("a.yaml", "model: x\nstage: kepo\n", [], "kepo"),
        ("a.yaml", "stage: kepo # why\n", ["stage=sft"], "sft"),
        ("a.json", '{"stage": "kepo"}', [], "kepo"),
        ("a.yaml", "my_stage: kepo\n", [], None),
    ],
)
def test_the_stage_of_a_command_line(tmp_path, name: str, text: str, words: list[str], stage: str | None) -> None:
    (tmp_path / name).write_text(text)
    assert stage_of_file([str(tmp_path / name), *words]) == stage
    assert stage_of_file(["absent.yaml"]) is None
