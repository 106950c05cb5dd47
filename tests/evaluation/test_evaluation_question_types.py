"""`choice_accuracy`: NExT-QA's and IntentQA's types and groups, STAR's mean, by hand and against a loop."""

import math
import random
from typing import Any

import pytest

from llamafactory_hind.evaluation import choice_accuracy


def test_nextqa_by_hand() -> None:
    """CW 1/2, CH 1/1, TN with TP 1/3, DO 1/2. C 2/3, T 1/3, D 1/2; mean (1/2 + 1 + 1/3 + 1/2) / 4 = 7/12; overall 4/8."""
    types = ["CW", "CW", "CH", "TN", "TP", "TP", "DO", "DO"]
    found = choice_accuracy([0, 1, 2, 3, 4, 0, 1, 2], [0, 0, 2, 3, 0, 1, 1, 0], types)
    expected = {"CW": 1 / 2, "CH": 1.0, "TN": 1 / 3, "DO": 1 / 2, "C": 2 / 3, "T": 1 / 3, "D": 1 / 2}
    assert found == pytest.approx({**expected, "mean": 7 / 12, "overall": 1 / 2})
    assert list(found) == [
        *expected,
        "mean",
        "overall",
    ]  # the order of the papers' tables; TC, DC, DL have no question


def test_star_by_hand() -> None:
    """Interaction 1/3, Sequence 1/1: mean 2/3, overall 2/4. Its types form no groups."""
    types = ["Interaction"] * 3 + ["Sequence"]
    found = choice_accuracy(["The clothes.", "The bag.", "The bag.", "D"], ["The clothes.", "a", "b", 3], types)
    assert found == pytest.approx({"Interaction": 1 / 3, "Sequence": 1.0, "mean": 2 / 3, "overall": 0.5})


def test_it_agrees_with_a_loop_over_the_questions() -> None:
    """The official loops: TP joins TN, a group is the first letter, everything once in `Acc`."""
    draw = random.Random(0)
    names = ["CW", "CH", "TN", "TC", "TP", "DC", "DL", "DO"]
    rows = [(draw.randrange(5), draw.randrange(5), draw.choice(names)) for _ in range(500)]
    counts: dict[str, list[int]] = {}
    for prediction, answer, kind in rows:
        kind = "TN" if kind == "TP" else kind
        for name in (kind, kind[0], "overall"):
            counts.setdefault(name, []).append(int(prediction == answer))
    found = choice_accuracy(*zip(*rows, strict=True))
    for name, hits in counts.items():
        assert found[name] == pytest.approx(sum(hits) / len(hits), abs=1e-12)
    fine = [name for name in counts if len(name) == 2]
    assert found["mean"] == pytest.approx(sum(found[name] for name in fine) / len(fine), abs=1e-12)
    assert found.keys() == {*counts, "mean"}


@pytest.mark.parametrize("prediction", [4, 4.0, "4", " 4 ", "E", "(E)", "E."])
def test_an_index_in_any_form_is_one_option(prediction: Any) -> None:
    """In the official code "4" and 4 differ."""
    assert choice_accuracy([prediction], [4], ["CW"])["overall"] == 1.0
    assert choice_accuracy([4], [prediction], ["CW"])["overall"] == 1.0


@pytest.mark.parametrize("prediction", [None, math.nan, "", 3, "4.5", "e", True])
def test_what_is_missing_or_no_option_is_wrong(prediction: Any) -> None:
    assert choice_accuracy([prediction, 0], [4, 0], ["CW", "CW"]) == {"CW": 0.5, "C": 0.5, "mean": 0.5, "overall": 0.5}


def test_unknown_types_count_as_their_own() -> None:
    """IntentQA's code drops their questions, NExT-QA's stops."""
    found = choice_accuracy([0, 1], [0, 0], ["ZZ", "CW"])
    assert found == {"CW": 0.0, "ZZ": 1.0, "C": 0.0, "mean": 0.5, "overall": 0.5}


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="got 1, 2, 2, expected the same number"):
        choice_accuracy([0], [0, 1], ["CW", "CW"])
    with pytest.raises(ValueError, match="at least one"):
        choice_accuracy([], [], [])
    with pytest.raises(ValueError, match="answers, row 1: got None"):
        choice_accuracy([0, 0], [0, None], ["CW", "CW"])
    with pytest.raises(ValueError, match="rename the types"):
        choice_accuracy([0], [0], ["mean"])
    with pytest.raises(ValueError, match=r"\['C'\]"):
        choice_accuracy([0, 0], [0, 0], ["C", "CW"])
