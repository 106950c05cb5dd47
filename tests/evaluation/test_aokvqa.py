"""`evaluation.aokvqa`: the official A-OKVQA scores by hand and against a naive twin, and the mapping of a model's words."""

import random

import pytest

from llamafactory_hind.evaluation import aokvqa_choice, aokvqa_direct
from llamafactory_hind.evaluation.aokvqa import match_choice


CHOICES = ["cat", "dog", "Grand Hotel", "b"]


@pytest.mark.parametrize(("matches", "expected"), [(0, 0.0), (1, 1 / 3), (2, 2 / 3), (3, 1.0), (10, 1.0)])
def test_direct_counts_equal_texts(matches: int, expected: float) -> None:
    assert aokvqa_direct("cab", ["cab"] * matches + ["train"] * (10 - matches)) == pytest.approx(expected)


def test_direct_neither_normalises_nor_leaves_one_out() -> None:
    """The VQA accuracy gives 1.0 to the first four; here one sign of difference is a miss."""
    answers = ["cab"] * 9 + ["a cab"]
    assert [aokvqa_direct(text, answers) for text in ("Cab", "cab.", "the cab", " cab")] == [0.0] * 4
    assert aokvqa_direct("a cab", answers) == pytest.approx(1 / 3)  # leaving one out would make it 0.3


def test_choice_is_the_text_alone() -> None:
    assert aokvqa_choice("dog", CHOICES, 1) == 1.0
    assert aokvqa_choice("dog", CHOICES, "dog") == 1.0
    assert [aokvqa_choice(text, CHOICES, 1) for text in ("Dog", "B", "(B)", "cat", "")] == [0.0] * 5
    assert aokvqa_choice("dog", ["dog", "cat", "dog", "cow"], 2) == 1.0  # texts are compared, not indices


@pytest.mark.parametrize("correct", [4, -1, True, "cow", None, 1.0])
def test_a_correct_choice_that_is_none_is_refused(correct: object) -> None:
    with pytest.raises(ValueError, match=r"correct choice: got .*expected an index from 0 to 3"):
        aokvqa_choice("dog", CHOICES, correct)


def test_no_reference_is_refused() -> None:
    with pytest.raises(ValueError, match="answers: got none"):
        aokvqa_direct("dog", [])


def official(dataset: list[dict], predictions: dict[str, str], *, multiple_choice: bool, strict: bool) -> float:
    """The official evaluation as its repository describes it, in percent.

    Difficult questions count in multiple choice alone; strict asks for every prediction, and for one of the choices; else what is
    missing is wrong.
    """
    kept = [row for row in dataset if multiple_choice or row["difficult_direct_answer"] is False]
    total = 0.0
    for row in kept:
        if row["question_id"] not in predictions:
            assert not strict
            continue
        text = predictions[row["question_id"]]
        if multiple_choice:
            assert not strict or text in row["choices"]
            total += 1.0 if text == row["choices"][row["correct_choice_idx"]] else 0.0
        else:
            hits = 0
            for answer in row["direct_answers"]:
                hits += 1 if answer == text else 0
            total += 1.0 if hits >= 3 else hits / 3
    return 100 * total / len(kept)


def random_case(generator: random.Random) -> tuple[list[dict], dict[str, str]]:
    """A small data set over few words, so that matches are frequent, with some predictions missing or beside the choices."""
    words = ["cab", "Cab", "train", "a train", "bus.", "bus", "42", ""]
    dataset = [
        {
            "question_id": f"q{number}",
            "choices": generator.sample(words, 4),
            "correct_choice_idx": generator.randrange(4),
            "direct_answers": generator.choices(words, k=10),
            "difficult_direct_answer": generator.random() < 0.3,
        }
        for number in range(generator.randrange(2, 12))
    ]
    dataset[0]["difficult_direct_answer"] = False
    predictions = {row["question_id"]: generator.choice(words) for row in dataset if generator.random() < 0.8}
    return dataset, predictions


@pytest.mark.parametrize("seed", range(200))
def test_both_agree_with_the_official_evaluation(seed: int) -> None:
    dataset, predictions = random_case(random.Random(seed))
    direct = [
        aokvqa_direct(predictions[row["question_id"]], row["direct_answers"])
        if row["question_id"] in predictions
        else 0
        for row in dataset
        if not row["difficult_direct_answer"]
    ]
    chosen = [
        aokvqa_choice(predictions[row["question_id"]], row["choices"], row["correct_choice_idx"])
        if row["question_id"] in predictions
        else 0
        for row in dataset
    ]
    expected = [official(dataset, predictions, multiple_choice=choice, strict=False) for choice in (False, True)]
    assert [100 * sum(scores) / len(scores) for scores in (direct, chosen)] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("words", "choice"),
    [
        ("dog", "dog"),
        (" Dog.\n", "dog"),
        ('"grand hotel"', "Grand Hotel"),
        ("(B)", "dog"),
        ("(b).", "dog"),
        ("[C]", "Grand Hotel"),
        ("C.", "Grand Hotel"),
        ("b)", "dog"),
        ("C", "Grand Hotel"),
        ("b) dog", "dog"),
        ("(B) Dog", "dog"),
        ("B: dog", "dog"),
        ("B)dog", "dog"),
        ("dog (B)", "dog"),
        ("(dog)", "dog"),
        ("B.", "b"),
        ("B", "b"),  # the text of the fourth choice, but for its capital: a text is looked for before a letter
        ("(E)", None),  # there are four choices
        ("(B) cat", None),  # letter and text contradict each other
        ("cat (B)", None),
        ("dogs", None),  # near is not equal
        ("hotel", None),
        ("a dog", None),
        ("B or C", None),
        ("The answer is (B)", None),  # `answer_pattern` cuts the answer out of a sentence
        ("", None),
        ("()", None),
        ("I", None),
    ],
)
def test_words_name_a_choice_or_none(words: str, choice: str | None) -> None:
    assert match_choice(words, CHOICES) == choice


def test_choices_that_differ_by_a_capital_are_told_apart_or_not_guessed() -> None:
    assert match_choice("Polish", ["polish", "Polish"]) == "Polish"
    assert match_choice("POLISH", ["polish", "Polish"]) is None
    assert match_choice("(A)", ["polish", "Polish"]) == "polish"
