"""What a sampled fact is worth, by hand."""

from typing import Any

import pytest

from llamafactory_hind.pipelines.rules.helping import judge_fact, usable
from llamafactory_hind.pipelines.rules.pairing import Fact


RECORD = {"text": "Fish swim.", "confidence": -1.0, "finish_reason": "stop"}


def judge(record: dict[str, Any], result: dict[str, Any], **options: Any) -> Fact:
    given = {"answer": "fish", "references": None, "helpful_by": "gain", "threshold": None}
    return judge_fact(record, result, **{**given, **options})


def test_gain_is_the_rise_of_log_p() -> None:
    """-1 - (-3) = 2 nats: more than 1.9, not more than 2."""
    result = {"without": -3.0, "with": {"Fish swim.": -1.0}}
    assert judge(RECORD, result) == Fact("Fish swim.", -1.0, 2.0, True)
    assert judge(RECORD, result, threshold=1.9).helpful
    assert not judge(RECORD, result, threshold=2.0).helpful


def test_outcome_is_the_rise_of_the_accuracy() -> None:
    """`The fish` is `fish` after VQA normalisation: 1 - 0, and 1 - 1 where the bare answer was right already."""
    result = {"without": "dog", "with": {"Fish swim.": "the fish"}}
    assert judge(RECORD, result, helpful_by="outcome") == Fact("Fish swim.", -1.0, 1.0, True)
    same = {"without": "fish", "with": {"Fish swim.": "fish"}}
    assert judge(RECORD, same, helpful_by="outcome") == Fact("Fish swim.", -1.0, 0.0, False)


def test_lexical_asks_no_answerer() -> None:
    nothing = {"without": None, "with": {}}
    assert judge(RECORD, nothing, helpful_by="lexical") == Fact("Fish swim.", -1.0, 1.0, True)
    assert judge(RECORD, nothing, helpful_by="lexical", answer="dog") == Fact("Fish swim.", -1.0, 0.0, False)


@pytest.mark.parametrize(
    "change", [{"text": ""}, {"text": "A <image> of fish."}, {"finish_reason": "length"}], ids=str
)
def test_an_unusable_text_helps_nobody(change: dict[str, Any]) -> None:
    record = RECORD | change
    assert not usable(record)
    assert usable(RECORD)
    fact = judge(record, {"without": None, "with": {}}, helpful_by="lexical")
    assert fact == Fact(record["text"], -1.0, 0.0, False, usable=False)
