"""Nothing of the host's is silently ignored: every key of the installed host is classified for every kind of rows."""

from dataclasses import MISSING, Field, fields
from pathlib import Path

import pytest
from llamafactory.hparams import parser

from llamafactory_hind.config import ROWS, ConfigError, check_train
from llamafactory_hind.config.checks import defaults
from llamafactory_hind.config.keys.host import REFUSED, USED, host_keys, treatment, unclassified
from llamafactory_hind.config.keys.host_known import HONOURED, HONOURED_FOR, NEUTRAL
from llamafactory_hind.config.keys.host_refused import EVERYWHERE, MULTITASK, PAIRS, PROMPTS, SCORED


KINDS = sorted(set(ROWS.values()))
STAGE_OF = {rows: stage for stage, rows in ROWS.items()}
NEEDED = {"critic": {}, "matching": {}, "pairs": {}, "multitask": {}, "prompts": {"reward_funcs": ["accuracy"]}}
# Defaults that may not be written out: another key of ours stands in their place, or another stage reads them.
PROMISES = {"temperature", "top_p", "top_k", "max_length", "max_new_tokens"}
PROMISES |= {key for key in EVERYWHERE if key.startswith(("pref_", "dpo_", "simpo_", "kto_", "ppo_", "reward_model"))}


def host_fields() -> dict[str, Field]:
    """Return every key that a training file of the installed host may have, without ours."""
    ours = defaults()
    found = {entry.name: entry for owner in parser._TRAIN_ARGS for entry in fields(owner) if entry.init}
    return {name: entry for name, entry in found.items() if name not in ours}


@pytest.mark.parametrize("rows", KINDS)
def test_every_key_of_the_host_is_classified(rows: str) -> None:
    """Fails for a key of a new host or a new transformers: put it into one of the tables of `config/keys/`."""
    assert len(host_fields()) > 300
    assert unclassified(sorted(host_fields()), rows) == []
    assert unclassified(["a_key_of_tomorrow"], rows) == ["a_key_of_tomorrow"]


def test_each_key_stands_in_one_table() -> None:
    neutral = [key for keys in NEUTRAL.values() for key in keys.split()]
    assert len(neutral) == len(set(neutral))
    honoured = [key for keys in HONOURED.values() for key in keys.split()]
    assert len(honoured) == len(set(honoured)) == len(USED)
    assert not USED & set(neutral)
    assert not (EVERYWHERE.keys() | SCORED.keys()) & (USED | set(neutral))
    assert not EVERYWHERE.keys() & SCORED.keys()
    for rows, keys in HONOURED_FOR.items():
        assert not set(keys.split()) & (USED | set(neutral) | REFUSED[rows].keys())
    assert set(REFUSED) == set(KINDS)


@pytest.mark.parametrize("rows", KINDS)
def test_the_hosts_default_is_never_refused_unless_it_promises_something(rows: str) -> None:
    for name, entry in host_fields().items():
        default = entry.default_factory() if entry.default_factory is not MISSING else entry.default
        found = list(host_keys({name: default}, "ours", rows))
        assert bool(found) == (name in PROMISES and name in REFUSED[rows] and default is not None), name


@pytest.mark.parametrize("rows", KINDS)
@pytest.mark.parametrize("name", sorted({*EVERYWHERE, *SCORED, *PAIRS, *PROMPTS, *MULTITASK}))
def test_every_refusal_says_what_to_do(name: str, rows: str) -> None:
    entry = REFUSED[rows].get(name)
    if entry is None:
        assert treatment(name, rows) in ("used", "neutral")
        return
    other = next(value for value in (True, False, "x") if not entry.harmless(value))
    (problem,) = host_keys({name: other}, STAGE_OF[rows], rows)
    assert (problem.key, problem.value, problem.remedy) == (name, other, entry.remedy)
    assert problem.expected.endswith(f"with `stage: {STAGE_OF[rows]}`")
    assert entry.remedy.endswith(".")
    assert list(host_keys({name: None}, STAGE_OF[rows], rows)) == []


@pytest.mark.parametrize("stage", sorted(ROWS))
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("moe_aux_loss_coef", 0.001), ("neftune_noise_alpha", 5), ("shift_attn", True), ("use_unsloth", True),
        ("mixture_of_depths", "convert"), ("use_liger_kernel", True), ("use_dft_loss", True), ("torch_compile", True),
        ("use_badam", True), ("fp8", True), ("lora_dropout", 0.1), ("finetuning_type", "oft"), ("ppo_target", 6.0),
        ("include_effective_tokens_per_second", True), ("average_tokens_across_devices", False),
    ],
)  # fmt: skip
def test_what_would_be_ignored_or_harmful_is_refused_before_anything_is_loaded(
    stage: str, key: str, value: object
) -> None:
    given = {"stage": stage, **NEEDED[ROWS[stage]]}
    known = {*host_fields(), *defaults()}
    assert check_train(given, known=known, host_stages=["sft"]) == []
    if key in HONOURED_FOR.get(ROWS[stage], "").split():
        assert check_train({**given, key: value}, known=known, host_stages=["sft"]) == []
        return
    with pytest.raises(ConfigError) as error:
        check_train({**given, key: value}, known=known, host_stages=["sft"])
    assert [problem.key for problem in error.value.problems] == [key]
    assert check_train({"stage": "sft", key: value}, known=known, host_stages=["sft"]) == []


def test_a_key_that_is_newer_than_we_are_is_said() -> None:
    known = {*host_fields(), *defaults(), "a_key_of_tomorrow"}
    (warning,) = check_train({"stage": "kepo", "a_key_of_tomorrow": 1}, known=known, host_stages=["sft"])
    assert "a_key_of_tomorrow" in warning
    assert check_train({"stage": "sft", "a_key_of_tomorrow": 1}, known=known, host_stages=["sft"]) == []


def test_an_old_key_of_the_host_is_unknown_to_it() -> None:
    """`train_mm_proj_only` is gone from the host (`freeze_*` keys took its place): the host itself takes it for a typing error."""
    assert "train_mm_proj_only" not in host_fields()


def test_the_page_names_both_tables() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "config.md").read_text()
    assert "`config/keys/host_refused.py`" in page
    assert "`config/keys/host_known.py`" in page
