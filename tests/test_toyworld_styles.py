"""The offline world of `gated_distill`: rendering styles, prompts of one style and of all, lessons of student and teacher, their YAMLs."""

import json
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml
from jinja2 import Template
from PIL import Image, ImageChops
from transformers import AutoConfig

from llamafactory_hind.formats.texts.hints import parse_hint
from llamafactory_hind.formats.texts.leaks import find_hint_leak
from llamafactory_hind.rewards import get_reward
from llamafactory_hind.toyworld import prompts
from llamafactory_hind.toyworld.build import build
from llamafactory_hind.toyworld.facts import BOOK, PEOPLE
from llamafactory_hind.toyworld.questions import knowledge_question
from llamafactory_hind.toyworld.scenes import STANDARD, STYLES, draw, ground, random_thing


def rows(world: Path, name: str) -> list[dict]:
    return json.loads((world / "rows" / f"{name}.json").read_text())


@pytest.fixture
def facts(small_world: Path) -> dict[tuple[str, str], dict]:
    found = json.loads((small_world / "kb.json").read_text())["facts"]
    return {(fact["creature"], fact["relation"]): fact for fact in found}


# Rendering


def test_every_style_draws_the_same_scene_otherwise() -> None:
    """Same things, same pixels, another picture in each style; the thing lies in its box, not elsewhere."""
    things = [random_thing(random.Random(3), (1, 2), ("circle", "red"))]
    pictures = {style: draw(things, style) for style in STYLES}
    assert pictures[STANDARD].tobytes() == draw(things).tobytes()
    assert len({picture.tobytes() for picture in pictures.values()}) == len(STYLES) == 5
    for style, picture in pictures.items():
        assert picture.tobytes() == draw(things, style).tobytes()
        if style != "noisy":  # there every pixel differs, the grain is the scene's own
            changed = ImageChops.difference(picture, draw([], style)).getbbox()
            assert changed == things[0].box, style
    assert draw([], STANDARD).tobytes() == ground().tobytes()


def test_an_unknown_style_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"style 'sepia' is unknown; expected one of \('standard', "):
        draw([], "sepia")


# Rows


def test_one_style_trains_all_are_tested(small_world: Path, facts) -> None:
    train, test = rows(small_world, "styles_train"), rows(small_world, "styles_test")
    assert {row["modality"] for row in train} == {STANDARD}
    assert Counter(row["modality"] for row in test) == dict.fromkeys(STYLES, 36)
    assert not {row["images"][0] for row in train} & {row["images"][0] for row in test}
    for name, found in (("train", train), ("test", test)):
        assert Counter((row["thing"], row["relation"]) for row in found) == dict.fromkeys(facts, len(found) // 36), (
            name
        )
        for row in found:
            fact = facts[row["thing"], row["relation"]]
            assert (row["answer"], row["misaligned"]) == (fact["value"], fact["misaligned"])
            assert row["true_knowledge"] == fact["sentence"]
            assert row["prompt"] == prompts.prompt(knowledge_question(row["relation"]), prompts.THINKING)
            assert Image.open(small_world / row["images"][0]).size == (84, 84)


def test_the_gold_text_earns_both_rewards_and_names_no_hint(small_world: Path) -> None:
    found = rows(small_world, "styles_test")
    texts, gold = [row["worked"] for row in found], [row["answer"] for row in found]
    assert get_reward("accuracy")(texts, answer=gold) == [1.0] * len(found)
    assert get_reward("format")(texts) == [1.0] * len(found)
    assert not any(map(find_hint_leak, texts))


def test_the_student_is_taught_what_people_say_and_to_believe_what_it_reads(small_world: Path, facts) -> None:
    read = 0
    for row in rows(small_world, "student_rows"):
        (question, answer) = (turn["content"] for turn in row["messages"])
        said = answer.split("<answer>")[1].removesuffix("</answer>")
        creature = answer.split(" is a ")[1].split(".")[0]
        relation = next(relation for relation in ("eats", "lives in", "fears") if f" {relation} " in answer)
        assert answer.split(". ")[1].startswith(f"The {creature} {relation} {said}.</think>")
        if "Knowledge: " in question:
            assert question.split("Knowledge: ")[1].startswith(
                (f"{PEOPLE} the {creature} ", f"{BOOK} the {creature} ")
            )
            assert f" {relation} {said}.\n{prompts.THINKING}" in question
            read += 1
        else:
            assert said == facts[creature, relation]["popular"]
    assert 0 < read < len(rows(small_world, "student_rows"))


def test_the_teacher_is_taught_the_truth_and_hints_that_parse(tmp_path: Path) -> None:
    from llamafactory_hind.toyworld.corpus import Corpus
    from llamafactory_hind.toyworld.facts import KnowledgeBase
    from llamafactory_hind.toyworld.styles import teacher_rows

    (tmp_path / "images").mkdir()
    knowledge = KnowledgeBase(0)
    hints = 0
    found = teacher_rows(Corpus(tmp_path, knowledge, random.Random(0)), 60)
    assert [row["messages"][0]["content"].endswith(prompts.ANSWER) for row in found] == [True] * 18 + [False] * 42
    for row in found[18:]:
        for question, answer in zip(row["messages"][::2], row["messages"][1::2], strict=True):
            text = answer["content"]
            hint = parse_hint(text, tags=True)
            if hint is None:
                truth = [fact for fact in knowledge.facts.values() if f"The {fact.sentence[len(BOOK) + 5 :]}" in text]
                assert [f"<answer>{fact.value}</answer>" in text for fact in truth] == [True]
            else:
                assert hint in [fact.sentence for fact in knowledge.facts.values()]
                assert f"The answer is {hint.rstrip('.').rpartition(' ')[2]}. " in question["content"]
                hints += 1
    assert hints > 10


# Checkpoints, files, YAMLs


def test_the_teacher_is_larger_and_speaks_the_same_tokens(small_world: Path) -> None:
    tiny, larger = (AutoConfig.from_pretrained(small_world / name) for name in ("tiny", "larger"))
    assert (tiny.text_config.hidden_size, tiny.text_config.num_hidden_layers) == (128, 4)
    assert (larger.text_config.hidden_size, larger.text_config.num_hidden_layers) == (192, 6)
    assert tiny.text_config.vocab_size == larger.text_config.vocab_size
    same = [(small_world / name / "tokenizer.json").read_bytes() for name in ("tiny", "larger")]
    assert same[0] == same[1]


def test_styles_are_added_to_an_older_world_and_what_is_registered_stays(small_world: Path, tmp_path: Path) -> None:
    (tmp_path / "dataset_info.json").write_text(json.dumps({"mine": {"file_name": "mine.json"}}))
    (tmp_path / "rows").mkdir()
    shutil.copy(
        small_world / "rows" / "video_reasoning.json", tmp_path / "rows"
    )  # what came later counts in its clips
    counts = build(tmp_path, seed=0, size="small", only_styles=True)
    assert set(counts) >= {"styles_train", "styles_test", "student_rows", "teacher_rows"}
    for name in counts:
        assert (tmp_path / "rows" / f"{name}.json").read_bytes() == (
            small_world / "rows" / f"{name}.json"
        ).read_bytes()
    assert not (tmp_path / "tiny").exists()
    info = json.loads((tmp_path / "dataset_info.json").read_text())
    assert info.pop("mine") == {"file_name": "mine.json"}
    assert info == json.loads((small_world / "dataset_info.json").read_text())


def test_the_prompt_files_say_what_the_lessons_say(root: Path) -> None:
    asked = knowledge_question("eats")
    question = "<image>" + prompts.prompt(asked, prompts.THINKING, images=0)
    sentence = "A book says the dax eats moss."
    folder = root / "yaml_configs" / "toyworld" / "prompts"
    hint, hinted = (Template((folder / f"{name}.jinja").read_text()) for name in ("hint", "hinted"))
    assert hint.render(question=question, answer="moss") == prompts.prompt(asked, prompts.asking_hint("moss"))
    assert hinted.render(question=question, hint=sentence) == prompts.prompt(asked, prompts.THINKING, facts=[sentence])


def test_the_yamls_fit_together(root: Path) -> None:
    def content(name: str) -> dict:
        return yaml.safe_load((root / "yaml_configs" / "toyworld" / f"{name}.yaml").read_text())

    base, student, teacher, method, sft, hints = map(
        content, ("0_base", "student", "teacher", "gated_distill", "styles_sft", "hints")
    )
    assert student["model_name_or_path"] == base["output_dir"]
    assert method["model_name_or_path"] == sft["model_name_or_path"] == student["output_dir"]
    assert method["teacher"] == hints["model_name_or_path"] == teacher["output_dir"]
    assert hints["hint_prompt"] == method["hint_prompt"]
    assert hints["dataset"] == method["dataset"]
    assert sft["per_device_train_batch_size"] == method["per_device_train_batch_size"] * method["num_generations"]
    assert sft["max_steps"] == method["max_steps"]
