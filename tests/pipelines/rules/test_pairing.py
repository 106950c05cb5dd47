"""Helpful rules, pair rules and the quadrant table, by hand."""

import json
from pathlib import Path

import pytest
from PIL import Image

from llamafactory_hind.evaluation.gold_answers import gold_answers, mentions, soft_score
from llamafactory_hind.pipelines.rules.pairing import (
    Fact,
    all_pairs,
    best_worst_pairs,
    distinct,
    gain,
    is_helpful,
    misaligned_pairs,
)
from llamafactory_hind.pipelines.rules.quadrants import count_facts, count_quadrants, plot_report


def fact(text: str, confidence: float, value: float) -> Fact:
    return Fact(text, confidence, value, value > 0)


SURE_RIGHT = fact("sure and right", -0.1, 2.0)
UNSURE_RIGHT = fact("unsure and right", -1.5, 1.0)
SURE_WRONG = fact("sure and wrong", -0.2, -1.0)
UNSURE_WRONG = fact("unsure and wrong", -2.0, -3.0)


def test_misaligned_takes_the_least_confident_helpful_and_the_most_confident_unhelpful() -> None:
    facts = [SURE_RIGHT, UNSURE_WRONG, UNSURE_RIGHT, SURE_WRONG]
    assert misaligned_pairs(facts) == [(UNSURE_RIGHT, SURE_WRONG)]


def test_misaligned_needs_both_kinds_and_the_confidence_upside_down() -> None:
    assert misaligned_pairs([SURE_RIGHT, UNSURE_RIGHT]) == []
    assert misaligned_pairs([SURE_WRONG]) == []
    assert misaligned_pairs([]) == []
    assert misaligned_pairs([SURE_RIGHT, UNSURE_WRONG]) == []  # -0.1 is above -2.0: already aligned
    tied = fact("as sure", -1.5, -1.0)
    assert misaligned_pairs([UNSURE_RIGHT, tied]) == []


def test_best_worst_looks_at_the_value_alone() -> None:
    assert best_worst_pairs([UNSURE_RIGHT, SURE_RIGHT, UNSURE_WRONG, SURE_WRONG]) == [(SURE_RIGHT, UNSURE_WRONG)]
    assert best_worst_pairs([SURE_RIGHT, UNSURE_RIGHT]) == [(SURE_RIGHT, UNSURE_RIGHT)]  # both help: still ordered
    assert best_worst_pairs([SURE_RIGHT]) == []
    assert best_worst_pairs([]) == []


def test_all_is_every_helpful_over_every_unhelpful() -> None:
    facts = [SURE_RIGHT, SURE_WRONG, UNSURE_RIGHT, UNSURE_WRONG]
    assert {(chosen.text, rejected.text) for chosen, rejected in all_pairs(facts)} == {
        (good.text, bad.text) for good in (SURE_RIGHT, UNSURE_RIGHT) for bad in (SURE_WRONG, UNSURE_WRONG)
    }


def test_equal_texts_are_one() -> None:
    again = fact(SURE_RIGHT.text, -0.3, 2.0)
    assert distinct([SURE_RIGHT, SURE_WRONG, again]) == [SURE_RIGHT, SURE_WRONG]


def test_gain_is_the_difference_and_zero_is_not_helpful() -> None:
    assert gain(-1.0, -3.5) == 2.5
    assert is_helpful(1e-9, None)
    assert not is_helpful(0.0, None)
    assert not is_helpful(0.5, 0.5)
    assert is_helpful(-0.1, -0.5)


def test_gold_answers_leave_stray_references_out() -> None:
    references = ["fish"] * 3 + ["trout"] * 4 + ["unknown", "moss", "moss"]
    assert gold_answers("fish", references) == ["fish", "trout"]
    assert gold_answers("fish", None) == ["fish"]


@pytest.mark.parametrize(
    ("text", "answers", "found"),
    [
        ("The dax eats Fish.", ["fish"], True),
        ("The dax is a fisher.", ["fish"], False),
        ("It has two legs.", ["2"], True),
        ("It lives in the sea-weed.", ["sea weed"], True),
        ("Anything", [""], False),
        ("Anything", ["the"], False),  # nothing is left of it after normalisation
    ],
)
def test_mentions(text: str, answers: list[str], found: bool) -> None:
    assert mentions(text, answers) is found


def test_soft_score_with_and_without_references() -> None:
    assert soft_score("fish", "fish", ["fish"] * 3 + ["dog"] * 7) == pytest.approx(0.9)
    assert soft_score("The fish", "fish", None) == 1.0
    assert soft_score("The fish", "fish", ["fish"]) == 1.0
    assert soft_score("dog", "fish", None) == 0.0


def test_quadrants_by_hand() -> None:
    """Median of -4, -3, -2, -1 is -2.5; a confidence at the threshold counts as unsure."""
    points = [(True, -4.0), (False, -3.0), (True, -2.0), (False, -1.0)]
    table = count_quadrants(points, threshold=None)
    assert table["threshold"] == -2.5
    assert table["counts"] == {
        "helpful, confident": 1,
        "helpful, unsure": 1,
        "unhelpful, confident": 1,
        "unhelpful, unsure": 1,
    }
    table = count_quadrants(points, threshold=-2.0)
    assert table["counts"]["helpful, confident"] == 0
    assert table["shares"]["unhelpful, confident"] == 0.25
    assert sum(table["shares"].values()) == 1.0
    assert count_quadrants([], threshold=None)["samples"] == 0


def test_facts_are_counted_by_hand() -> None:
    """Greedy: 1 of 2 helps; sampled: 1 of 4; the unusable one helps nobody and is in the quadrants all the same."""
    cut = Fact("cut", -0.5, 0.0, False, usable=False)
    table = count_facts([[SURE_RIGHT, UNSURE_RIGHT, SURE_WRONG], [SURE_WRONG, cut, UNSURE_WRONG]], threshold=None)
    assert table["greedy_helpful_rate"] == 0.5
    assert table["sampled_helpful_rate"] == 0.25
    assert table["unusable_samples"] == 1
    assert table["quadrants"]["threshold"] == -1.0, "the median of -2, -1.5, -0.5 and -0.2"
    assert [*table["quadrants"]["counts"].values()] == [0, 1, 2, 1]
    assert count_facts([], threshold=None)["greedy_helpful_rate"] == 0.0


def test_report_is_drawn(tmp_path: Path) -> None:
    report = {
        "rows": 4,
        "pairs": 1,
        "pair_rule": "misaligned",
        "greedy_helpful_rate": 0.25,
        "sampled_helpful_rate": 0.5,
        "quadrants": count_quadrants([(True, -4.0), (False, -1.0)], threshold=None),
    }
    plot_report(report, tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as image:
        assert len(image.convert("RGB").getcolors(10**6)) > 20  # something is drawn
    json.dumps(report)
