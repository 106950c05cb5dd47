"""The offline world: same seed, same bytes; boxes, events, facts and rows say what is true; the host loads the checkpoint."""

import hashlib
import importlib
import json
import random
from collections import Counter
from pathlib import Path

import av
import pytest
import torch
from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.hparams import DataArguments, FinetuningArguments, ModelArguments
from llamafactory.model import load_model, load_tokenizer
from PIL import Image, ImageChops

from llamafactory_hind.formats.prompts.files import ENVIRONMENT
from llamafactory_hind.formats.prompts.wording import build_prompt
from llamafactory_hind.pipelines.rules.parsing import parse_hindsight
from llamafactory_hind.toyworld import prompts
from llamafactory_hind.toyworld.build import build
from llamafactory_hind.toyworld.clips import random_clip, write_mp4
from llamafactory_hind.toyworld.corpus import Corpus
from llamafactory_hind.toyworld.facts import BOOK, PEOPLE, VALUES, KnowledgeBase, fact_sentence
from llamafactory_hind.toyworld.scenes import draw, ground


@pytest.mark.parametrize("world", ["toyworld", "toyworld.localized", "toyworld.video"])
def test_no_world_is_built_over_other_files(world: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit):
        importlib.import_module(f"llamafactory_hind.{world}.__main__").main(
            ["--out", str(tmp_path), "--size", "small"]
        )
    assert "which holds something else" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def rows(world: Path, name: str) -> list[dict]:
    return json.loads((world / "rows" / f"{name}.json").read_text())


def digests(world: Path) -> dict[str, str]:
    files = [path for path in sorted(world.rglob("*")) if path.is_file()]
    return {str(path.relative_to(world)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_same_seed_same_bytes_another_seed_another_world(small_world: Path, tmp_path: Path) -> None:
    build(tmp_path / "again", seed=0, size="small")
    assert digests(tmp_path / "again") == digests(small_world)
    build(tmp_path / "other", seed=1, size="small")
    first, other = digests(small_world), digests(tmp_path / "other")
    assert first["kb.json"] != other["kb.json"]
    assert first["images/see_0000.png"] != other["images/see_0000.png"]
    assert first["tiny/tokenizer.json"] == other["tiny/tokenizer.json"]  # rows of any seed suit any checkpoint


def test_the_bytes_of_a_clip_depend_on_its_frames_alone(tmp_path: Path) -> None:
    """Also where the memory that the encoder is given was used before: half a percent of the files once differed."""
    rng, clip = random.Random(0), random_clip(random.Random(1))
    found = set()
    for _ in range(300):
        used = [rng.randbytes(1) * rng.randrange(1000, 60000) for _ in range(50)]
        del used
        write_mp4(tmp_path / "clip.mp4", clip.frames[:3])
        found.add((tmp_path / "clip.mp4").read_bytes())
    assert len(found) == 1


def test_boxes_hold_exactly_the_drawn_pixels(small_world: Path) -> None:
    """Outside all boxes the picture is the empty ground; each box touches its thing on all four sides."""
    for row in rows(small_world, "counting"):
        image = Image.open(small_world / row["images"][0]).convert("RGB")
        changed = ImageChops.difference(image, ground()).convert("L").point(lambda value: 255 * (value > 0))
        for thing in row["objects"]:
            box = tuple(thing["box"])
            inside = changed.crop(box)
            assert inside.getbbox() == (0, 0, *inside.size), thing
            changed.paste(0, box)
        assert changed.getbbox() is None, row["id"]


def test_events_happen_when_the_rows_say(small_world: Path) -> None:
    """Decoded frames change between an event's start and end, and not in the quiet before the first one."""
    seen = 0
    for row in rows(small_world, "video_reasoning"):
        with av.open(str(small_world / row["videos"][0])) as clip:
            frames = [(float(frame.time), frame.to_image()) for frame in clip.decode(video=0)]
        assert frames[-1][0] == pytest.approx(row["end"], abs=0.2)

        def changed(start: float, end: float, frames=frames) -> int:
            before = [image for time, image in frames if time <= start][-1]
            after = [image for time, image in frames if time <= end][-1]
            return max(high for _, high in ImageChops.difference(before, after).getextrema())

        events = row["events"]
        assert changed(0.0, events[0]["start"] - 0.13) < 60, "quiet before the first event"
        for event in events:
            assert changed(event["start"] - 0.13, event["end"] + 0.13) > 90, event
            seen += 1
    assert seen > 10


def test_people_are_wrong_about_a_third_of_the_facts_and_tell_seven_of_ten() -> None:
    """Of 36 facts 12 are misaligned, 6 of them among the 18 that training asks for; books, three tellings in ten, are right."""
    knowledge = KnowledgeBase(3)
    facts = list(knowledge.facts.values())
    assert len(facts) == 36
    assert [sum(fact.asked is asked for fact in facts) for asked in (True, False)] == [18, 18]
    assert [sum(fact.misaligned for fact in facts if fact.asked is asked) for asked in (True, False)] == [6, 6]
    for fact in facts:
        told = Counter(knowledge.told(fact, turn) for turn in range(100))
        assert told == {(PEOPLE, fact.popular): 70, (BOOK, fact.value): 30}
        assert fact.misaligned == (fact.value != fact.popular)


def test_hindsight_rows_are_true_and_their_knowledge_is_what_is_told(small_world: Path) -> None:
    facts = {
        (fact["creature"], fact["relation"]): fact
        for fact in json.loads((small_world / "kb.json").read_text())["facts"]
    }
    found = rows(small_world, "hindsight_train")
    for row in found:
        fact = facts[row["thing"], row["relation"]]
        assert row["answer"] == fact["value"]
        assert Counter(row["answers"])[fact["value"]] == 8
        assert len(row["answers"]) == 10
        assert not fact["misaligned"] or fact["popular"] not in row["answers"]
        assert row["true_knowledge"] == fact["sentence"]
        source, value = row["knowledge"][0].split(" the ")[0], row["knowledge"][0].rstrip(".").rsplit(" ", 1)[1]
        assert value == (fact["popular"] if source == PEOPLE else fact["value"])
    asked = {key for key, fact in facts.items() if fact["asked"]}
    assert {(row["thing"], row["relation"]) for row in found} == asked
    held_out = rows(small_world, "hindsight_test")
    assert {row["asked_in_training"] for row in held_out} == {True, False}
    for row in held_out:
        assert row["asked_in_training"] == ((row["thing"], row["relation"]) in asked)


def test_hindsight_of_the_corpus_shows_an_answer_and_leads_to_it(tmp_path: Path) -> None:
    """Both versions of a misaligned fact are shown, each with the voice that tells it, in the form that the pipeline reads."""
    (tmp_path / "images").mkdir()
    corpus = Corpus(tmp_path, KnowledgeBase(0), random.Random(0))
    shown = Counter()
    for number in range(100):
        row = corpus.know_row(f"row-{number}", turns=3, kinds=("hindsight",))
        for question, written in zip(row["messages"][::2], row["messages"][1::2], strict=True):
            answer = question["content"].split("The answer is ")[1].split(". Explain.")[0]
            found = parse_hindsight(written["content"])
            assert found.conclusion == answer
            assert len(found.cot) == 2
            (fact,) = found.knowledge
            name = fact.split(" the ")[1].split()[0]
            relation = next(relation for relation in VALUES if f" {relation} " in fact)
            known = corpus.knowledge.facts[name, relation]
            assert fact in (
                fact_sentence(PEOPLE, name, relation, known.popular),
                fact_sentence(BOOK, name, relation, known.value),
            )
            assert fact.endswith(f" {answer}.")
            shown[known.misaligned, fact.startswith(BOOK)] += 1
    assert min(shown.values()) > 20


def test_reading_rows_cannot_be_answered_from_memory() -> None:
    """Over many readings every value of a relation stands in the prompt, and the answer is always the one that stands there."""
    corpus = Corpus(Path("/nonexistent"), KnowledgeBase(0), random.Random(0))
    facts = list(corpus.knowledge.facts.values())
    answers = Counter()
    for _ in range(60):
        text = corpus.text_row(turns=3)
        for question, answer in zip(text["messages"][::2], text["messages"][1::2], strict=True):
            if "Knowledge: " in question["content"]:
                assert f" {answer['content']}.\n" in question["content"]
                answers[answer["content"]] += 1
    assert set(answers) == {value for values in VALUES.values() for value in values}
    assert len(facts) == 36


def test_prompts_are_those_of_the_hindsight_format() -> None:
    question = "What does the thing eat?"
    assert prompts.prompt(question, prompts.KNOWLEDGE) == build_prompt("knowledge", question, images=1)
    assert prompts.prompt(question, prompts.REASONING) == build_prompt("cot", question, images=1)
    steps, facts = ["It is a dax.", "It is red."], ["The dax eats moss."]
    ours = prompts.prompt(question, prompts.ANSWER, cot=steps, facts=facts)
    assert ours == build_prompt("answer", question, cot=steps, knowledge=facts, images=1)
    shown = "<image>What does the thing eat?\nReasoning: It is a dax.\nIt is red.\nKnowledge: The dax eats moss.\n"
    assert ours == shown + "Answer briefly."
    assert prompts.prompt(question, "Go.", cot=steps, facts=facts) == shown + "Go."


def test_the_hindsight_prompt_is_that_of_the_worlds_own_file(root: Path) -> None:
    template = ENVIRONMENT.from_string(
        (root / "yaml_configs" / "toyworld" / "prompts" / "hindsight.jinja").read_text()
    )
    question = "What does the thing eat?"
    ours = prompts.prompt(question, prompts.hindsight("moss"))
    assert template.render(media="<image>", question=question, answer="moss") == ours


def test_every_dataset_entry_has_its_file(small_world: Path) -> None:
    info = json.loads((small_world / "dataset_info.json").read_text())
    for name, entry in info.items():
        content = json.loads((small_world / entry["file_name"]).read_text())
        assert content, name
        for row in content:
            for path in [*row.get("images", []), *row.get("videos", [])]:
                assert (small_world / path).is_file(), (name, path)


def test_the_host_loads_tokenizer_processor_and_model(small_world: Path) -> None:
    arguments = ModelArguments(model_name_or_path=str(small_world / "tiny"))
    module = load_tokenizer(arguments)
    tokenizer, processor = module["tokenizer"], module["processor"]
    assert type(processor).__name__ == "Qwen2_5_VLProcessor"
    template = get_template_and_fix_tokenizer(tokenizer, DataArguments(template="qwen2_vl"))
    for text in ("The dax eats plums.", "naïve 3 < 5 = 字", "a\n\nb"):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
    image = str(small_world / "images" / "see_0000.png")
    messages = [
        {"role": "user", "content": "<image>What color is the thing?"},
        {"role": "assistant", "content": "red"},
    ]
    messages = template.mm_plugin.process_messages(messages, [image], [], [], processor)
    prompt, answer = template.encode_oneturn(tokenizer, messages)
    assert prompt.count(tokenizer.convert_tokens_to_ids("<|image_pad|>")) == 9  # a cell of the scene is a merged patch
    assert len(answer) == 3  # the word, the end of the turn, the line break
    model = load_model(tokenizer, arguments, FinetuningArguments(finetuning_type="full"), is_trainable=False)
    assert type(model).__name__ == "Qwen2_5_VLForConditionalGeneration"
    assert model.config.image_token_id == tokenizer.convert_tokens_to_ids("<|image_pad|>")
    assert torch.isfinite(model(input_ids=torch.tensor([prompt[:5]])).logits).all()


def test_drawing_is_pure() -> None:
    assert draw([]).tobytes() == ground().tobytes() == draw([]).tobytes()


def test_an_unknown_size_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'huge' is unknown; expected one of \['base', 'small'\]"):
        build(tmp_path, seed=0, size="huge")
