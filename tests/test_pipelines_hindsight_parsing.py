"""What models really write as hindsight is read: every dress of the sections, JSON, two languages; what is missing stays empty."""

import json

import pytest

from llamafactory_hind.formats.texts.leaks import find_leak
from llamafactory_hind.pipelines.rules.parsing import parse_hindsight


STEPS = ["The man holds a racket.", "Rackets of this shape are for tennis."]
FACTS = ["Tennis is played at Wimbledon.", "A tennis court has a net."]
PLAIN = """Reasoning:
1. The man holds a racket.
2. Rackets of this shape are for tennis.
Knowledge:
- Tennis is played at Wimbledon.
- A tennis court has a net.
Answer: tennis"""
MARKDOWN = """Sure! Here is the breakdown.

### **Reasoning Steps:**
**1.** The man holds a racket.
2) Rackets of this shape
   are for tennis.

## Knowledge Facts
* Tennis is played at Wimbledon.
• A tennis court has a net.

**Final Answer:** tennis"""
STEPPED = """**Chain of thought**
Step 1: The man holds a racket.
Step 2: Rackets of this shape are for tennis.

Background knowledge:
(1) Tennis is played at Wimbledon.
(2) A tennis court has a net.

Conclusion: tennis"""
UNMARKED = """<think>The user wants 1. a list. Knowledge: none.</think>
Reasoning: The man holds a racket.
Rackets of this shape are for tennis.
Facts: Tennis is played at Wimbledon.
A tennis court has a net.
The answer: tennis"""
CHINESE = """推理：
第一步：The man holds a racket.
第二步：Rackets of this shape are for tennis.
【知识】
1、Tennis is played at Wimbledon.
2、A tennis court has a net.
**答案**：tennis"""
OBJECT = {"reasoning": STEPS, "knowledge": FACTS, "answer": "tennis"}
NUMBERED = {
    "Steps": [{"step": 1, "text": STEPS[0]}, {"step": 2, "text": STEPS[1]}],
    "facts": [f"1. {FACTS[0]}", f"- {FACTS[1]}"],
    "final_answer": "tennis",
}


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace("\n", "\r\n"),
        MARKDOWN,
        STEPPED,
        UNMARKED,
        CHINESE,
        json.dumps(OBJECT),
        f"Here you are:\n```json\n{json.dumps(NUMBERED, indent=2)}\n```\nAnything else?",
        f"```\n{PLAIN}\n```",
    ],
    ids=["plain", "crlf", "markdown", "stepped", "unmarked", "chinese", "json", "fenced json", "fenced"],
)
def test_every_dress_gives_the_same_parts(text: str) -> None:
    found = parse_hindsight(text)
    assert found.cot == STEPS
    assert found.knowledge == FACTS
    assert found.conclusion == "tennis"


def test_what_is_not_there_stays_empty() -> None:
    assert parse_hindsight("I cannot help with that.") == parse_hindsight("")
    found = parse_hindsight("Reasoning:\n1. It is red.\nKnowledge:")
    assert (found.cot, found.knowledge, found.conclusion) == (["It is red."], [], None)
    assert parse_hindsight("{not json").cot == []
    assert parse_hindsight('{"reasoning": null, "knowledge": "a fact", "answer": 3}').knowledge == ["a fact"]
    assert parse_hindsight('{"reasoning": null, "knowledge": "a fact", "answer": 3}').conclusion == "3"


def test_a_sentence_that_begins_like_a_heading_is_no_heading() -> None:
    found = parse_hindsight(
        "Reasoning:\n1. Knowledge of birds tells that it flies.\n2. Steps lead to the door.\nFacts:\n- A"
    )
    assert found.cot == ["Knowledge of birds tells that it flies.", "Steps lead to the door."]


@pytest.mark.parametrize(
    "text",
    [
        "The given answer is fish, so the animal eats fish.",
        "Since the answer is fish, it must be a cat.",
        "Based on the answer, it is a cat.",
        "We are told that it eats fish.",
        "This matches the correct answer.",
        "As the hint says, fish.",
        "The answer provided is fish.",
        "According to the provided answer it is a cat.",
        "根据答案，这是鱼。",
        "正确答案是鱼。",
    ],
)
def test_a_text_that_says_it_was_given_the_answer_leaks(text: str) -> None:
    assert find_leak(text)


@pytest.mark.parametrize(
    "text",
    [
        "So the answer is fish.",
        "Cats are known to eat fish.",
        "The known habitat of the animal is the sea.",
        "A correct serve lands in the box.",
        "The provided towel hangs on the rack.",
        "The sign says stop, which is the answer to the question.",
        "答案是鱼。",
        "已知猫吃鱼。",
    ],
)
def test_ordinary_reasoning_does_not(text: str) -> None:
    assert find_leak(text) is None
