"""Labels of raters: majority, polarity, every form, and what is wrong named."""

import math
from typing import Any

import pytest

from llamafactory_hind.formats.ratings import rating_problems, read_ratings


@pytest.mark.parametrize(
    ("fields", "accepted"),
    [
        ({"label": ["accept", "accept", "reject"]}, True),
        ({"label": ["accept", "reject", "reject"]}, False),
        ({"label": ["accept", "reject"]}, False),  # a tie is no majority
        ({"label": [1, True, "Reject"]}, True),
        ({"label": "accept"}, True),
        ({"label": 0.67}, True),
        ({"label": 0}, False),
        ({"reject_label": 1}, False),
        ({"reject_label": 0}, True),
        ({"label": 1, "reject_label": 0}, True),
    ],
)
def test_1_means_accepted_by_the_majority(fields: dict[str, Any], accepted: bool) -> None:
    """The official `int(label.count("accept") < 2)` is 1 for the second list and 0 for the first: the reverse."""
    assert list(rating_problems(fields)) == []
    assert read_ratings(fields).accepted is accepted


def test_scores_are_means_and_may_be_missing() -> None:
    ratings = read_ratings({"label": 1, "qa_score": [0.5, 1.0], "r_score": None})
    assert ratings.qa_score == 0.75
    assert math.isnan(ratings.rationale_score)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "label"),
        ({"label": "perhaps"}, "label"),
        ({"label": []}, "label"),
        ({"label": ["accept", None]}, "label"),
        ({"label": 3}, "label"),
        ({"reject_label": "maybe"}, "reject_label"),
        ({"label": 1, "reject_label": 1}, "reject_label"),
        ({"label": 0, "reject_label": 0}, "reject_label"),
        ({"label": 1, "qa_score": "good"}, "qa_score"),
        ({"label": 1, "r_score": [math.inf]}, "r_score"),
        ({"label": 1, "r_score": True}, "r_score"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], field: str) -> None:
    (problem,) = rating_problems(fields)
    assert problem.field == field
