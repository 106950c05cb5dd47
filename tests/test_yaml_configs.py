"""Every YAML of the repository is accepted by the parser that its command uses, and names files that other YAMLs write."""

from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from llamafactory.hparams.parser import _TRAIN_ARGS, _parse_train_args

from llamafactory_hind.config import STAGES, check_train
from llamafactory_hind.pipelines.config import build_arguments


ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "yaml_configs").rglob("*.yaml"))


def content(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_parses(path: Path) -> None:
    settings = content(path)
    if "pipeline" in settings:
        _, arguments = build_arguments(settings)
        assert arguments.pipeline == settings["pipeline"]
    else:
        known = {entry.name for arguments in _TRAIN_ARGS for entry in fields(arguments) if entry.init}
        assert (
            check_train(
                settings,
                known=known,
                host_stages=["pt", "sft", "rm", "ppo", "dpo", "kto"],
                allow_extra_keys=False,
                use_mca=False,
            )
            == []
        )
        model_args, data_args, training_args, finetuning_args, _ = _parse_train_args({**settings, "use_cpu": True})
        assert finetuning_args.stage == settings["stage"]
        assert training_args.output_dir == settings["output_dir"]
        assert data_args.template == settings["template"]
        assert model_args.model_name_or_path == settings["model_name_or_path"]


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_every_stage_has_a_yaml_here_and_one_for_a_real_model(stage: str) -> None:
    named = [path.parent.name for path in FILES if content(path).get("stage") == stage]
    assert "toyworld" in named
    assert set(named) - {"toyworld"}


def test_the_offline_chain_fits_together() -> None:
    """Each step reads what an earlier one writes: base, generator, pairs, KEPO."""
    base, generator, synth, kepo = (
        content(ROOT / "yaml_configs" / "toyworld" / f"{name}.yaml")
        for name in ("base", "knowledge_sft", "knowledge", "kepo")
    )
    assert (
        generator["model_name_or_path"]
        == synth["model_name_or_path"]
        == kepo["model_name_or_path"]
        == base["output_dir"]
    )
    assert synth["adapter_name_or_path"] == kepo["adapter_name_or_path"] == generator["output_dir"]
    assert kepo["dataset"] == synth["output_dataset"]
