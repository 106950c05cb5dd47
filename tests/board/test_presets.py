"""Presets: which there are, and that they are found in a checkout and in an installed wheel."""

from pathlib import Path

import pytest

from llamafactory_hind.board import presets
from llamafactory_hind.config import STAGES


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_every_stage_has_presets(stage: str) -> None:
    names = presets.presets_for("stage", stage)
    assert names
    assert all(presets.read_preset(name)["stage"] == stage for name in names)


def test_what_a_yaml_does_not_say_is_what_it_means() -> None:
    """Board: 8 accumulated steps, cosine, bf16, alpha 16; command line: 1, linear, float32, twice the rank."""
    form = presets.form_of({"stage": "grpo", "lora_rank": 4, "reward_funcs": ["accuracy"], "kl_beta": 0.04})
    assert form["train.gradient_accumulation_steps"] == 1
    assert form["train.lr_scheduler_type"] == "linear"
    assert form["train.compute_type"] == "fp32"
    assert form["train.lora_alpha"] == 8
    assert form["train.hind_reward_funcs"] == ["accuracy"]
    assert form["train.hind_kl_beta"] == "0.04"
    assert form["train.hind_clip_low"] == "0.2"
    assert form["train.extra_args"] == "{}"


def test_an_installed_wheel_finds_them_by_its_list_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a checkout beside the package; a name that is not in the list is nothing."""
    from importlib import metadata

    place = tmp_path / "share" / "llamafactory_hind" / "yaml_configs" / "grpo"
    place.mkdir(parents=True)
    (tmp_path / "lib" / "site").mkdir(parents=True)
    (place / "a.yaml").write_text("stage: grpo\n")
    entry = metadata.PackagePath("../../share/llamafactory_hind/yaml_configs/grpo/a.yaml")
    entry.dist = metadata.PathDistribution(tmp_path / "lib" / "site" / "x.dist-info")
    monkeypatch.setattr(metadata, "files", lambda name: [entry])
    monkeypatch.setattr(
        presets, "__file__", str(tmp_path / "lib" / "site" / "llamafactory_hind" / "board" / "presets.py")
    )
    presets.preset_files.cache_clear()
    presets.read_preset.cache_clear()
    try:
        assert presets.preset_files()["grpo/a.yaml"].resolve() == (place / "a.yaml").resolve()
        assert presets.read_preset("grpo/a.yaml") == {"stage": "grpo"}
        assert presets.read_preset("../a.yaml") == {}
    finally:
        presets.preset_files.cache_clear()
        presets.read_preset.cache_clear()
