"""The demo's chain: every step's words are accepted by its command, each reads what an earlier one makes, numbers by hand."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from llamafactory_hind.config import STAGES
from llamafactory_hind.evaluation.arguments import build_arguments as build_score
from llamafactory_hind.evaluation.arguments import read_settings as read_score
from llamafactory_hind.pipelines.runner.command import build_arguments, read_settings
from llamafactory_hind.toyworld import demo
from llamafactory_hind.toyworld.chain import Chain, Step, accuracies, move_configs
from llamafactory_hind.toyworld.report import _voted


def settings_of(step: Step) -> dict:
    file, *words = step.words
    return OmegaConf.to_container(OmegaConf.merge(OmegaConf.load(file), OmegaConf.from_cli(words)))


@pytest.fixture
def steps(tmp_path: Path, root: Path) -> list[Step]:
    """Every step of the demo in a folder of its own."""
    (tmp_path / "knowledge_before.quadrants.json").write_text(json.dumps({"quadrants": {"threshold": -0.1}}))
    return list(demo.steps(Chain(tmp_path, move_configs(tmp_path, root / "yaml_configs" / "toyworld"), 3)))


def test_every_step_is_accepted_by_its_command(steps: list[Step], tmp_path: Path) -> None:
    for step in steps:
        if step.command == "synth":
            _, arguments = build_arguments(read_settings(step.words))
            assert Path(arguments.output) == step.makes
        elif step.command == "score":
            assert Path(build_score(read_score(list(step.words))).predictions).parent == tmp_path
        elif step.command == "train":
            settings = settings_of(step)
            assert settings["stage"] in (*STAGES, "sft")
            assert Path(settings["output_dir"]) == step.makes.parent
            assert settings["seed"] == 3


def test_every_step_reads_what_an_earlier_one_makes(steps: list[Step], tmp_path: Path) -> None:
    """Adapters and models are folders that were trained, data sets are registered by then."""
    made = {tmp_path / "tiny"}
    datasets = {"base_see", "base_know", "hindsight_train", "hindsight_test", "hindsight_answer_train"}
    datasets |= {"hindsight_answer_test"}
    assert len({step.makes for step in steps}) == len(steps)
    for step in steps:
        settings = settings_of(step) if step.command in ("train", "synth") else {}
        for key, value in settings.items():
            if value and key.endswith(("adapter", "adapter_name_or_path", "model_name_or_path")):
                assert Path(value) in made, (step.name, key)
        assert set(str(settings.get("dataset", "base_see")).split(",")) <= datasets, step.name
        made.add(step.makes.parent)
        if step.command == "synth":
            name = settings["output_dataset"]
            datasets |= {name, f"{name}_cot", f"{name}_knowledge"} if "hindsight" in settings["pipeline"] else {name}


def test_accuracy_by_group(tmp_path: Path) -> None:
    """One question of each kind; `moss` has eight votes of ten, which is 1, a lone stray has 1/3 in 9 of 10 and 0 in its own."""
    references = ["moss"] * 8 + ["unknown", "nuts"]
    rows = [
        {"prediction": "moss", "answers": references, "asked_in_training": True, "misaligned": True},
        {"prediction": "Nuts.", "answers": references, "asked_in_training": False, "misaligned": False},
        {"prediction": "fish", "answers": references, "asked_in_training": False, "misaligned": True},
    ]
    (tmp_path / "answers.json").write_text(json.dumps(rows))
    found = accuracies(tmp_path / "answers.json")
    assert found["asked in training"] == (1.0, 1)
    assert found["new facts"] == (pytest.approx(0.15), 2)
    assert found["new facts, misaligned"] == (0.0, 1)
    assert found["all"] == (pytest.approx(1.3 / 3), 3)


def test_a_reader_sees_what_was_known_and_voted() -> None:
    row = {"written_knowledge": [{"text": text} for text in ("a", "b", "b")], "prediction": "x", "vote_share": 2 / 3}
    assert _voted(row).splitlines() == ["2 x b", "1 x a", "[bold]x[/] (67%)"]
