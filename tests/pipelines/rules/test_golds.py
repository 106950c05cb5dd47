"""Gold answers of one and of several parts in texts of models, by hand."""

import pytest

from llamafactory_hind.pipelines.rules.golds import says_gold
from llamafactory_hind.pipelines.rules.naming import names_answer


@pytest.mark.parametrize(
    ("text", "gold", "found"),
    [
        ("so it is a red ring", "red", True),
        ("it is covered", "red", False),
        ("Answer: red and blue", "red, blue", True),
        ("Answer: red,blue", "red, blue", True),
        ("Answer: blue and red", "red, blue", False),  # a list has an order
        ("Answer: red", "red, blue", False),
        ("the roots are 1,2 and 3", "1, 2, 3", True),
        ("the root is 123", "1, 2, 3", False),
        ("the root is 12", "1,2", False),  # VQA's normalisation takes the comma away
        ("3, then 2, then 1", "{1, 2, 3}", True),
        ("1 and 2", "{1, 2, 3}", False),
        ("2 and 3", "{2, 2, 3}", False),  # twice is twice
        ("1,000 and 2,000", "1,000, 2,000", True),
    ],
)
def test_all_parts_must_be_said(text: str, gold: str, found: bool) -> None:
    assert says_gold(text, [gold]) is found


@pytest.mark.parametrize(
    ("hint", "gold", "named"),
    [
        ("Look at the blue one, then at the red one.", "red, blue", True),  # in any order it is given away
        ("Look at the red one first.", "red, blue", False),  # a part may lead to the others
        ("It is 2 or 1.", "{1, 2}", True),
        ("先看红，再看蓝", "红, 蓝", True),
        ("先看红", "红, 蓝", False),
    ],
)
def test_a_hint_that_names_all_parts_names_the_answer(hint: str, gold: str, named: bool) -> None:
    assert names_answer(hint, [gold], question="Which?", choices=None) is named


def test_parts_that_the_question_names_are_not_looked_for() -> None:
    assert not names_answer(
        "Compare the cat and the dog.", ["cat, dog"], question="Order the dog and the cat.", choices=None
    )
