"""Triples read from texts, in both languages and in odd forms, and each reason to drop one."""

import pytest

from llamafactory_hind.pipelines.rules.triples import KEPT, Triple, judge_triple, parse_questions, parse_triples


GOOD = Triple("Why is <region:0> sad?", "The cake is gone.", "<region:1> holds an empty plate.")
ENGLISH = """Here they are.
1. Question: Why is [0] sad?
Answer: The cake
is gone.
Rationale: [1] holds an empty plate.

**Question 2:** Who ate [0, 1]?
- Answer: A dog
"""
CHINESE = "问题：[0]为什么难过？\n答案：蛋糕没了。\n理由：[1]拿着空盘子。"


def test_english() -> None:
    assert parse_triples(ENGLISH) == [GOOD, Triple("Who ate <region:0>, <region:1>?", "A dog", "")]


def test_chinese() -> None:
    assert parse_triples(CHINESE) == [Triple("<region:0>为什么难过？", "蛋糕没了。", "<region:1>拿着空盘子。")]


@pytest.mark.parametrize("text", ["", "no form at all", "Answer: first\nRationale: without a question"])
def test_nothing(text: str) -> None:
    assert parse_triples(text) == []


PROMPT = "The cake is gone.\n[3] a plate\nWrite 3 questions."


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, KEPT),
        ({"rationale": ""}, "a part is missing"),
        ({"answer": "..."}, "the form of the prompt"),
        ({"answer": "……"}, "the form of the prompt"),
        ({"question": "Who is <region:2>?"}, "a region that is not there"),
        ({"answer": "Write 3 questions."}, "copied from the prompt"),
        ({"rationale": "<region:0> a plate"}, "copied from the prompt"),
        ({"answer": "why is <region:0> sad"}, "the answer repeats the question"),
        ({"answer": "an <image>"}, "media placeholder in the text"),
        ({"answer": "<region:x> is there"}, "like a tag"),
        ({"question": "What is asked?"}, "asked already"),
    ],
)
def test_every_reason(changes: dict[str, str], reason: str) -> None:
    triple = Triple(**{**vars(GOOD), "answer": "It was eaten.", **changes})
    prompt = "[0] a plate\nWrite 3 questions."
    assert judge_triple(triple, regions=2, prompt=prompt, known={"What is asked?"}) == reason


def test_questions_of_a_list() -> None:
    text = "1. Who is it?\n- Where?\n\n- Where?\n2) Why?"
    assert parse_questions(text, 2) == ["Who is it?", "Where?"]
