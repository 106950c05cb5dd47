"""The vote by hand."""

import pytest

from llamafactory_hind.pipelines.rules.voting import vote


def test_answers_equal_after_normalisation_are_one() -> None:
    """`The dog.`, `dog` and `dogs`: two against one, and the first voter's own words are kept."""
    found = vote(["dogs", "The dog.", "dog"])
    assert found.answer == "The dog."
    assert found.share == pytest.approx(2 / 3)
    assert found.counts == {"dogs": 1, "dog": 2}


def test_the_earlier_wins_a_tie_and_the_empty_has_no_vote() -> None:
    assert vote(["bee", "ant", "ant", "bee"]).answer == "bee"
    assert vote(["", "", "ant"]).answer == "ant"
    assert vote(["", "", "ant"]).share == pytest.approx(1 / 3)
    assert vote(["", " "]).answer == ""


def test_no_answer_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="answers: got none"):
        vote([])
