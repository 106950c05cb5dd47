"""The random cut of LSKD's generative student: its range by counting, mentions and media kept whole, rows as `sft` gets them."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from llamafactory_hind.formats.align.tables import FOR_EVALUATION
from llamafactory_hind.formats.region.cutting import cut_text, whole_text
from llamafactory_hind.formats.region.options import read_options
from shared.formats import FormatSetup


TEXT = "one two <region:0> four five six seven eight"
ROW = {
    "id": "r1",
    "images": ["a.png"],
    "regions": [{"box": [64, 48, 320, 240], "label": "dog"}],
    "question": "Why does <region:0> run?",
    "answer": "<region:0> is young.",
    "rationale": "Because <region:0> is.",
}


def test_the_first_part_has_one_to_half_of_the_words() -> None:
    """Eight words: 1, 2, 3 or 4 in front, each about as often (400 draws, p = 1/4: 3 deviations are 26)."""
    counts: Counter[int] = Counter()
    for seed in range(400):
        first, rest = cut_text(TEXT, seed=str(seed))
        assert f"{first} {rest}" == TEXT
        counts[len(first.split(" "))] += 1
    assert sorted(counts) == [1, 2, 3, 4]
    assert all(74 <= count <= 126 for count in counts.values())
    assert cut_text(TEXT, seed="a") == cut_text(TEXT, seed="a")


def test_short_texts_and_media() -> None:
    assert cut_text("one two", seed="a") == ("one", "two")
    for seed in range(20):
        first, rest = cut_text("see <image> and <image>: what is it and why", seed=str(seed))
        assert first.count("<image>") == 2
        assert rest


def test_whole_text() -> None:
    assert whole_text("Q?", "a.", "r.") == "Q? Answer: a. Rationale: r."
    assert whole_text("Q?", "a.", None) == "Q? Answer: a."


@pytest.fixture
def setup(tmp_path: Path) -> FormatSetup:
    Image.new("RGB", (640, 480), "teal").save(tmp_path / "a.png")
    found = FormatSetup(tmp_path)
    found.data_args.template = "qwen2_vl_region"
    return found


def test_rows_are_cut_in_training_and_whole_in_evaluation(setup: FormatSetup) -> None:
    rows = [ROW | {"id": number} for number in range(30)]
    info = {"formatting": "region", "target": "answer_rationale", "region_style": "marks", "prefix_cut": True}
    found = setup.align(rows, **info)
    whole = "<image>Why does [0] run? Answer: [0] is young. Rationale: Because [0] is."
    prompts = [turns[-1]["content"] for turns in found["_prompt"]]
    texts = [turns[0]["content"] for turns in found["_response"]]
    assert {f"{first} {rest}" for first, rest in zip(prompts, texts, strict=True)} == {whole}
    assert len(set(prompts)) > 2
    assert prompts == [turns[-1]["content"] for turns in setup.align(rows, **info)["_prompt"]]
    assert prompts != [turns[-1]["content"] for turns in setup.align(rows, **info, region_seed=1)["_prompt"]]
    token = FOR_EVALUATION.set(True)
    try:
        evaluated = setup.align(rows, **info)
    finally:
        FOR_EVALUATION.reset(token)
    assert evaluated["_prompt"][0][-1]["content"] == "<image>Why does [0] run?"
    assert evaluated["_response"][0][0]["content"] == "[0] is young.\nRationale: Because [0] is."


def test_a_share_of_rows_keeps_the_rationale_in_training(setup: FormatSetup) -> None:
    """Of 400 rows about half do (5 standard deviations: 50); by another seed others do; in evaluation all do."""
    rows = [ROW | {"id": number} for number in range(400)]
    info = {"formatting": "region", "target": "answer_rationale", "region_style": "marks", "rationale_share": 0.5}

    def kept(**more: Any) -> list[bool]:
        texts = [turns[0]["content"] for turns in setup.align(rows, **info | more)["_response"]]
        assert set(texts) <= {"[0] is young.", "[0] is young.\nRationale: Because [0] is."}
        return ["Rationale" in text for text in texts]

    assert abs(sum(kept()) - 200) < 50
    assert kept() == kept() != kept(region_seed=1)
    assert not any(kept(rationale_share=0))
    cut = setup.align(rows, **info, prefix_cut=True)
    wholes = [f"{p[-1]['content']} {r[0]['content']}" for p, r in zip(cut["_prompt"], cut["_response"], strict=True)]
    assert ["Rationale:" in whole for whole in wholes] == kept()
    token = FOR_EVALUATION.set(True)
    try:
        assert all(kept())
    finally:
        FOR_EVALUATION.reset(token)


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"rationale_share": 1.5, "target": "answer_rationale"}, "rationale_share: got 1.5, expected a number from 0"),
        ({"rationale_share": 0.5}, "expected it with `target: answer_rationale`"),
        ({"prefix_cut": "yes"}, "prefix_cut: got 'yes', expected true or false"),
        ({"prefix_cut": True, "ranking": True}, "without ranking"),
        ({"prefix_cut": True, "target": "rationale"}, "expected it with `target: answer`"),
    ],
)
def test_wrong_options(info: dict, said: str) -> None:
    with pytest.raises(ValueError, match="dataset mine") as error:
        read_options({"file_name": "x.json", "formatting": "region"} | info, name="mine")
    assert said in str(error.value)
