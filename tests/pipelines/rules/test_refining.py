"""Which sentences of a reasoning state its answer, English and Chinese; what is left, word for word."""

import pytest

from llamafactory_hind.pipelines.rules.refining import refine
from llamafactory_hind.pipelines.rules.sentences import split_sentences


CHOICES = ["it is caught by the dog", "it hits a wall", "it melts"]
STEPS = "The ball rolls to the left. A wall is there."


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?", ["One. ", "Two! ", "Three?"]),
        ("At 3.5 s it stops. Mr. Fox sees e.g. a dog.", ["At 3.5 s it stops. ", "Mr. Fox sees e.g. a dog."]),
        ("1. It rolls.\n2. It stops.", ["1. It rolls.\n", "2. It stops."]),
        ('He says "Stop." Then he runs.', ['He says "Stop." ', "Then he runs."]),
        ("球向左滚。墙在那里\uff01它停下", ["球向左滚。", "墙在那里\uff01", "它停下"]),
        ("The answer is B. The ball stops.", ["The answer is B. ", "The ball stops."]),
        ("A line\nand another", ["A line\n", "and another"]),
        ("", []),
    ],
)
def test_sentences_are_pieces_of_the_text(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences
    assert "".join(split_sentences(text)) == text


@pytest.mark.parametrize(
    ("sentence", "rule", "words"),
    [
        ("So option B fits.", "letter", "option B"),
        ("This matches (B).", "letter", "(B)"),
        ("B.", "letter", "B."),
        ("The ball stops because it hits a wall.", "text", "it hits a wall"),
        ("Surely the answer is that it stops.", "answer", "answer is"),
        ("**Answer:** the wall", "answer", "**Answer"),
        ("The correct option names a wall.", "answer", "correct option"),
        ("I would choose the second one.", "answer", "I would choose"),
        ("Therefore, the wall stops it.", "conclusion", "Therefore"),
        ("In conclusion it cannot go on.", "conclusion", "In conclusion"),
    ],
)
def test_a_sentence_that_states_the_answer_goes(sentence: str, rule: str, words: str) -> None:
    found = refine(f"{STEPS} {sentence}", CHOICES, {1})
    assert found.text == STEPS
    assert [(one.sentence, one.rule, one.words, one.place) for one in found.deletions] == [(sentence, rule, words, 2)]
    assert found.sentences == 3


@pytest.mark.parametrize(
    "sentence",
    [
        "So it rolls on.",  # a step, not the end
        "He picks it up.",
        "The right side is empty.",
        "A dog runs to option-less ground.",
        "It is not it is caught by the dog.",  # not among those that were reached
        "The answering machine rings.",
    ],
)
def test_a_step_stays(sentence: str) -> None:
    text = f"{sentence} {STEPS}"
    assert refine(text, CHOICES, {1}).text == text


@pytest.mark.parametrize(
    ("sentence", "rule"),
    [
        ("所以选B。", "letter"),
        ("选项B符合。", "letter"),
        ("答案是撞墙。", "answer"),
        ("正确答案应为第二个。", "answer"),
        ("球撞到了墙上。", "text"),
        ("因此它停了下来。", "conclusion"),
        ("综上，墙挡住了它。", "conclusion"),
    ],
)
def test_chinese_statements_go(sentence: str, rule: str) -> None:
    found = refine(f"球向左滚。墙在那里。{sentence}", ["被狗接住了", "球撞到了墙上", "融化"], {1})
    assert found.text == "球向左滚。墙在那里。"
    assert [one.rule for one in found.deletions] == [rule]


def test_short_options_do_not_empty_a_text() -> None:
    """`two` is in many a step; it counts where a sentence concludes."""
    found = refine("I see two balls. Then one more comes. So two is wrong here. They roll.", ["two", "three"], {0, 1})
    assert found.text == "I see two balls. Then one more comes. They roll."
    assert [one.rule for one in found.deletions] == ["conclusion"]


def test_tags_and_headings() -> None:
    found = refine("<think>Reasoning: The ball rolls. It stops.</think><answer>B</answer>", CHOICES, {1})
    assert found.text == "The ball rolls. It stops."
    assert [(one.sentence, one.rule) for one in found.deletions] == [("<answer>B</answer>", "tags")]
    assert refine("<think>It rolls.</think><answer>B", CHOICES, {1}).text == "It rolls."


def test_nothing_may_be_left() -> None:
    found = refine("So the answer is (B).", CHOICES, {1})
    assert (found.text, len(found.deletions)) == ("", 1)


def test_rules_can_be_left_out() -> None:
    text = f"{STEPS} The ball stops because it hits a wall. So option B fits."
    assert refine(text, CHOICES, {1}, rules=()).text == text
    kept = refine(text, CHOICES, {1}, rules=("letter",))
    assert kept.text == f"{STEPS} The ball stops because it hits a wall."
