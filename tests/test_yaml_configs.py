"""Every YAML of the repository is accepted by the parser that its command uses, and names files that other YAMLs write."""

from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from llamafactory.hparams.parser import _TRAIN_ARGS, _parse_train_args

from llamafactory_hind.config import STAGES, check_train
from llamafactory_hind.engines.teachers.plan import read_teacher_plan
from llamafactory_hind.evaluation.arguments import build_arguments as build_score_arguments
from llamafactory_hind.pipelines.runner.command import build_arguments


ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "yaml_configs").rglob("*.yaml"))
TEACHERS = [path for path in FILES if path.parent.name == "teachers"]  # files that the key `teacher` names


def content(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize("path", TEACHERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_teacher_file_is_read(path: Path) -> None:
    assert read_teacher_plan(str(path)).teachers


def test_teacher_files_that_are_named_are_there() -> None:
    named = [content(path).get("teacher") for path in FILES if path not in TEACHERS]
    files = [
        name for name in named if name is not None and name.startswith("yaml_configs/") and name.endswith(".yaml")
    ]
    assert files
    assert {ROOT / name for name in files} <= set(TEACHERS)


@pytest.mark.parametrize(
    "path", [path for path in FILES if path not in TEACHERS], ids=lambda path: str(path.relative_to(ROOT))
)
def test_parses(path: Path) -> None:
    settings = content(path)
    if "pipeline" in settings:
        _, arguments = build_arguments(settings)
        assert arguments.pipeline == settings["pipeline"]
    elif "metric" in settings:
        assert build_score_arguments(settings).metrics == (settings["metric"],)
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


@pytest.mark.parametrize("folder", ["toyworld", "hind/okvqa", "hind/aokvqa"])
def test_the_chain_fits_together(folder: str) -> None:
    """Each step reads what an earlier one writes: hindsight, both generators, pairs, KEPO, answers, score."""
    hindsight, cot, knowledge, pairs, kepo, answers, score = (
        content(next((ROOT / "yaml_configs" / folder).glob(f"{number}_{name}.yaml")))
        for number, name in enumerate(
            ("hindsight", "cot_sft", "knowledge_sft", "pairs", "kepo", "answers", "score"), start=1
        )
    )
    model = hindsight["model_name_or_path"]
    assert {step["model_name_or_path"] for step in (cot, knowledge, pairs, kepo, answers)} == {model}
    assert cot["dataset"] == f"{hindsight['output_dataset']}_cot"
    assert knowledge["dataset"] == f"{hindsight['output_dataset']}_knowledge"
    assert knowledge["output_dir"] == pairs["adapter_name_or_path"] == kepo["adapter_name_or_path"]
    assert kepo["dataset"] == pairs["output_dataset"]
    assert pairs["dataset"] == hindsight["dataset"]
    assert answers["cot_adapter"] == cot["output_dir"]
    assert answers["knowledge_adapter"] == kepo["output_dir"]
    assert score["predictions"] == answers["output"]
    assert score["dataset"] == answers["dataset"]


def test_the_offline_base_is_what_the_offline_chain_starts_from() -> None:
    base, hindsight = (
        content(ROOT / "yaml_configs" / "toyworld" / name) for name in ("0_base.yaml", "1_hindsight.yaml")
    )
    assert base["output_dir"] == hindsight["model_name_or_path"]
