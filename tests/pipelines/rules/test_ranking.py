"""Scores of choices by hand."""

import pytest

from llamafactory_hind.pipelines.rules.ranking import best_of, choice_problem, gold_index, scores_of


RESULT = {"logprobs": [-6.0, -5.0], "tokens": [3, 2], "prior": [-5.0, -1.0]}


@pytest.mark.parametrize(
    ("norm", "expected", "best"),
    [("token", [-2.0, -2.5], 0), ("sum", [-6.0, -5.0], 1), ("char", [-0.5, -1.0], 0), ("pmi", [-1.0, -4.0], 0)],
)
def test_every_norm_by_hand(norm: str, expected: list[float], best: int) -> None:
    """Texts of 12 and 5 characters: -6 / 12 and -5 / 5. Against the bare text: -6 + 5 and -5 + 1."""
    scores = scores_of(RESULT, ["twelve chars", "fives"], norm)
    assert scores == expected
    assert best_of(scores) == best


def test_ties_nan_and_missing_priors() -> None:
    assert best_of([1.0, 1.0]) == 0
    with pytest.raises(ValueError, match="expected numbers"):
        best_of([float("nan"), 1.0])
    with pytest.raises(ValueError, match="pmi"):
        scores_of({"logprobs": [-1.0], "tokens": [1]}, ["a"], "pmi")


@pytest.mark.parametrize(
    ("fields", "index"),
    [({"answer_label": 1}, 1), ({"answer_label": 7}, None), ({"answer": "b"}, 1), ({"answer": "c"}, None), ({}, None)],
)
def test_the_right_choice(fields: dict, index: int | None) -> None:
    assert gold_index(fields, ["a", "b"]) == index


@pytest.mark.parametrize("choices", [None, "ab", ["one"], ["a", ""], ["a", 3]])
def test_choices_that_cannot_be_ranked(choices: object) -> None:
    assert "choices: got" in choice_problem(choices, None)
    assert choice_problem(["a", "b"], 2) is None
    assert "likelihood" in choice_problem(["a", "b", "c"], 2)
