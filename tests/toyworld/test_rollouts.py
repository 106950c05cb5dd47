"""Prompts of the offline world for learning from rewards: answers against the pixels, YAMLs that fit together, the benchmark's numbers."""

import json
import random
from pathlib import Path

import pytest
import yaml
from llamafactory.hparams import ModelArguments
from llamafactory.model import load_tokenizer
from omegaconf import OmegaConf
from PIL import Image

from llamafactory_hind.formats.texts.layout import has_layout
from llamafactory_hind.rewards import get_reward, load_rewards
from llamafactory_hind.toyworld.build import build
from llamafactory_hind.toyworld.chain import Chain, Step, move_configs
from llamafactory_hind.toyworld.clips import random_clip
from llamafactory_hind.toyworld.corpus import Corpus
from llamafactory_hind.toyworld.counting import clip_rows, color_rows, start_rows
from llamafactory_hind.toyworld.datasets import dataset_info
from llamafactory_hind.toyworld.facts import KnowledgeBase
from llamafactory_hind.toyworld.scenes import CELL, GRID, GROUND, MARK_RGB, RGB


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    (tmp_path / "images").mkdir()
    return Corpus(tmp_path, KnowledgeBase(0), random.Random("rollouts"))


def cell_colors(image: Image.Image) -> list[str]:
    """The color of the thing in each cell that has one, seen from the pixels alone."""
    found = []
    for row in range(GRID):
        for column in range(GRID):
            cell = image.crop((column * CELL, row * CELL, (column + 1) * CELL, (row + 1) * CELL))
            seen = {color for _, color in cell.getcolors(CELL * CELL)} - {GROUND, MARK_RGB}
            found += [name for name, rgb in RGB.items() if rgb in seen]
    return found


def test_answers_are_what_the_picture_shows(corpus: Corpus) -> None:
    """Three things whatever the answer; 1, 2 and 3 equally often."""
    rows = color_rows(corpus, "color_test", 30, external=False)
    for row in rows:
        colors = cell_colors(Image.open(corpus.root / row["images"][0]).convert("RGB"))
        asked = row["prompt"].removeprefix("<image>How many ").removesuffix(" things are there?")
        assert len(colors) == 3
        assert row["answer"] == str(colors.count(asked))
        assert row["external"] is None
    assert sorted(row["answer"] for row in rows) == ["1"] * 10 + ["2"] * 10 + ["3"] * 10


def test_the_auxiliary_model_is_right_about_seven_times_in_ten(corpus: Corpus) -> None:
    """300 draws of probability 0.7: standard deviation 0.026, so 0.6 to 0.8 is nearly four of them."""
    rows = color_rows(corpus, "color_train", 300, external=True)
    texts = [row["external"][0]["text"] for row in rows]
    assert all(has_layout(text) for text in texts)
    assert 0.6 < sum(get_reward("accuracy")(texts, answer=[row["answer"] for row in rows])) / 300 < 0.8


def test_lessons_of_the_cold_start_are_right(corpus: Corpus) -> None:
    for row in start_rows(corpus, "color_start", 12):
        question, lesson = (message["content"] for message in row["messages"])
        asked = question.removeprefix("<image>How many ").removesuffix(" things are there?")
        count = cell_colors(Image.open(corpus.root / row["images"][0]).convert("RGB")).count(asked)
        assert lesson == f"<think></think><answer>{count}</answer>"


def test_clips_end_with_as_many_things_as_the_answer_says() -> None:
    """Three things slide, turn or vanish; the last frame shows who is left. Several rows of a clip give one prompt."""
    clips = [random_clip(random.Random(seed)) for seed in range(12)]
    events = [[vars(event) for event in clip.events] for clip in clips]
    video_rows = [{"videos": [f"{n}.mp4"], "events": seen} for n, seen in enumerate(events) for _ in range(3)]
    rows = clip_rows(video_rows)
    assert [row["videos"] for row in rows] == [[f"{n}.mp4"] for n in range(12)]
    assert [row["answer"] for row in rows] == [str(len(cell_colors(clip.frames[-1]))) for clip in clips]
    assert {row["answer"] for row in rows} == {"2", "3"}


def test_rows_can_be_added_to_a_world_and_change_nothing_else(small_world: Path, tmp_path: Path) -> None:
    """What a world of the same seed gets later is what it would have been built with."""
    build(tmp_path, seed=0, size="small")
    before = (tmp_path / "rows" / "base_see.json").read_bytes()
    for name in ("color_train", "color_test", "color_start", "video_counting"):
        (tmp_path / "rows" / f"{name}.json").unlink()
    build(tmp_path, seed=0, size="small", only_styles=True)
    assert (tmp_path / "rows" / "base_see.json").read_bytes() == before
    for name in ("color_train", "color_test", "color_start", "video_counting"):
        assert (tmp_path / "rows" / f"{name}.json").read_bytes() == (
            small_world / "rows" / f"{name}.json"
        ).read_bytes()


def configs(root: Path, *names: str) -> list[dict]:
    return [yaml.safe_load((root / "yaml_configs" / "toyworld" / f"{name}.yaml").read_text()) for name in names]


def test_the_yamls_fit_together(root: Path) -> None:
    names = ("cold_start_sft", "grpo", "external_select", "external_grpo", "external_sft", "grpo_video")
    start, grpo, select, external, sft, video = configs(root, *names)
    assert external["model_name_or_path"] == sft["model_name_or_path"] == start["output_dir"]
    assert sft["dataset"] == f"{select['output_dataset']}_selected"
    assert select["dataset"] == external["dataset"] == grpo["dataset"]
    assert {config["dataset"] for config in (start, grpo, external, video)} <= set(dataset_info())
    assert {sft[key] == external[key] for key in ("max_steps", "learning_rate", "per_device_train_batch_size")} == {
        True
    }


def test_an_action_is_not_too_long(root: Path, small_world: Path) -> None:
    (external,) = configs(root, "external_grpo")
    tokenizer = load_tokenizer(ModelArguments(model_name_or_path=str(small_world / "tiny")))["tokenizer"]
    assert len(tokenizer("<think></think><answer>3</answer>").input_ids) + 1 <= external["max_new_tokens"]


def test_a_reward_in_a_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Right number 1, another digit 0.2, anything else 0 (`44` is no digit); without a gold answer it does not apply."""
    monkeypatch.chdir(root)
    (video,) = configs(root, "grpo_video")
    scored = load_rewards(video["reward_funcs"], None, timeout=60).score(
        ["2", "3", "44", "2"], {"answer": ["2", "2", "2", None], "row_id": list("abcd")}
    )
    assert scored.total == [1.0, 0.2, 0.0, None]


def test_intervals_by_hand(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mean 0.2; standard deviation 0.1, times t = 4.303 over the root of three: 0.248."""
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    from external_toyworld import steps_to
    from seeds import interval

    assert interval([0.1, 0.2, 0.3]) == "20.0 ± 24.8"
    assert interval([0.5]) == "50.0"
    assert steps_to({0: 0.1, 20: 0.5, 40: 0.4, 60: 0.6}, 0.5) == 20
    assert steps_to({0: 0.1, 20: 0.3}, 0.5) is None


def test_the_benchmark_trains_all_methods_alike(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same start, steps and rows a step for every method; one that is done is not measured again."""
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    import external_toyworld

    for name in external_toyworld.METHODS:
        (tmp_path / external_toyworld.RUNS / name).mkdir(parents=True)
        (tmp_path / external_toyworld.RUNS / name / "curve.json").write_text(json.dumps({"0": 0.5}))
    chain = Chain(tmp_path, move_configs(tmp_path, root / "yaml_configs" / "toyworld"), 3)
    steps = {step.name: step for step in external_toyworld.steps(chain)}
    methods = [settings_of(steps[f"{external_toyworld.RUNS}/{name}"]) for name in external_toyworld.METHODS]
    keys = ("model_name_or_path", "max_steps", "save_steps", "per_device_train_batch_size", "learning_rate", "seed")
    assert all(len({method[key] for method in methods}) == 1 for key in keys)
    assert methods[0]["model_name_or_path"] == str(tmp_path / "cold_start")
    assert [method["stage"] for method in methods] == ["external_grpo"] * 3 + ["sft"]
    assert methods[0]["external_max_per_group"] == 0


def settings_of(step: Step) -> dict:
    file, *words = step.words
    return OmegaConf.to_container(OmegaConf.merge(OmegaConf.load(file), OmegaConf.from_cli(list(words))))
