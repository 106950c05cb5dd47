"""`evaluation.vqa`: the official VQA accuracy, by hand; every expected number can be read off the official code."""

import pytest

from llamafactory_hind.evaluation import vqa_accuracy
from llamafactory_hind.evaluation.vqa import normalize_answer, strip_punctuation


def ten(*groups: tuple[str, int]) -> list[str]:
    return [answer for answer, count in groups for _ in range(count)]


def test_leave_one_out_over_ten_references() -> None:
    """Three of ten agree: the seven others see 3 matches (1.0), the three themselves see 2 (2/3): (7 + 3 * 2/3) / 10 = 0.9."""
    assert vqa_accuracy("fish", ten(("fish", 3), ("dog", 7))) == pytest.approx(0.9)
    # two agree: eight see 2/3, two see 1/3
    assert vqa_accuracy("fish", ten(("fish", 2), ("dog", 8))) == pytest.approx((8 * 2 / 3 + 2 / 3) / 10)
    # one: nine see 1/3, itself sees none
    assert vqa_accuracy("fish", ten(("fish", 1), ("dog", 9))) == pytest.approx(0.3)
    assert vqa_accuracy("fish", ten(("fish", 4), ("dog", 6))) == 1.0
    assert vqa_accuracy("cat", ten(("fish", 4), ("dog", 6))) == 0.0


def test_nothing_is_normalised_where_all_references_are_identical() -> None:
    assert vqa_accuracy("Fish", ten(("fish", 10))) == 0.0
    assert vqa_accuracy("Fish", ten(("fish", 9), ("dog", 1))) == 1.0
    assert vqa_accuracy(" fish\n", ten(("fish", 10))) == 1.0  # line breaks and margins go in any case
    assert vqa_accuracy("fish", ten(("fish", 5), ("fish ", 5))) == 1.0  # identical after that: still not normalised
    assert vqa_accuracy("the fish", ten(("fish", 5), ("fish ", 5))) == 0.0


def test_references_are_normalised_too() -> None:
    assert vqa_accuracy("2 dogs", ten(("Two dogs", 5), ("the two dogs!", 5))) == 1.0


def test_a_single_reference_has_nobody_left_to_agree() -> None:
    assert vqa_accuracy("fish", ["fish"]) == 0.0


def test_no_reference_is_refused() -> None:
    with pytest.raises(ValueError, match="answers: got none"):
        vqa_accuracy("fish", [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Cat", "cat"),
        ("a an the", ""),
        ("none", "0"),
        ("Ten apples", "10 apples"),
        ("eleven", "eleven"),
        ("dont", "don't"),
        ("couldntve", "couldntve"),  # the official table knows it with one apostrophe only
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("somebody'd", "somebodyd"),  # the official table takes this apostrophe away
        ("Im", "im"),  # its capital keys never match, for the text is lower case by then
        ("whos", "who's"),
        ("twas", "'twas"),
    ],
)
def test_words(text: str, expected: str) -> None:
    assert normalize_answer(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("t-shirt", "t shirt"),  # between words: a space
        ("t- shirt", "t shirt"),  # beside a space: nothing
        ("left/right", "left right"),
        ("a-b - c", "ab  c"),  # one hyphen beside a space: all hyphens go
        ("1,000", "1000"),
        ("1,000-2", "10002"),  # a comma within a number: all marks go
        ("hi!", "hi "),
        ("u.s.", "us"),
        ("3.5", "3.5"),
        ("3.", "3"),
        (".5", ".5"),
        ("x.y", "xy"),
        ("it's", "it's"),
        ("50%", "50%"),
    ],
)
def test_punctuation(text: str, expected: str) -> None:
    assert strip_punctuation(text) == expected


def test_only_thirty_two_periods_go() -> None:
    """The official code passes the flag re.UNICODE (32) as the count of re.sub."""
    assert strip_punctuation("." * 40 + "x") == "." * 8 + "x"
