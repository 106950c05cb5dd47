"""Spans of time: IoU of sets by hand and against a count of small steps, NExT-GQA's scores, reading texts, and the reward."""

import math
import random

import pytest

from llamafactory_hind.evaluation import temporal_iou
from llamafactory_hind.evaluation.span_texts import parse_spans
from llamafactory_hind.evaluation.spans import gold_spans, nextgqa_grounding
from llamafactory_hind.rewards import get_reward


@pytest.mark.parametrize(
    ("prediction", "gold", "expected"),
    [
        ((2, 6), (4, 8), 2 / 6),  # 4..6 of 2..8
        ((4, 8), (4, 8), 1.0),
        ([(4, 8)], (4, 8), 1.0),
        ((0, 1), (4, 8), 0.0),  # disjoint: never below 0
        ((0, 4), (4, 8), 0.0),
        ((8, 4), (4, 8), 0.0),  # ends before it starts: empty
        ([(8, 4), (4, 8)], (4, 8), 1.0),
        ((5, 5), (4, 8), 0.0),
        ((5, 5), (5, 5), 0.0),  # covers nothing together
        ([], (4, 8), 0.0),
        ([], [], 0.0),
        ([(0, 2), (4, 6)], [(1, 5)], 2 / 6),  # 1..2 and 4..5 of 0..6
        ([(0, 2), (1, 3), (0, 2)], (0, 3), 1.0),  # the same time counts once
        ([(0, 2), (2, 4)], (0, 4), 1.0),
        ([(0, 1), (10, 11)], [(0, 1), (20, 21)], 1 / 3),
    ],
)
def test_iou_by_hand(prediction: object, gold: object, expected: float) -> None:
    assert temporal_iou(prediction, gold) == pytest.approx(expected, abs=1e-12)
    assert temporal_iou(gold, prediction) == pytest.approx(expected, abs=1e-12)


def test_iou_agrees_with_a_count_of_steps() -> None:
    """Whole seconds: a span is the set of its seconds."""
    draw = random.Random(0)
    for _ in range(500):
        first, second = (
            [(draw.randint(0, 20), draw.randint(0, 20)) for _ in range(draw.randint(0, 4))] for _ in range(2)
        )
        one, two = ({step for start, end in spans for step in range(start, end)} for spans in (first, second))
        expected = len(one & two) / len(one | two) if one | two else 0.0
        assert temporal_iou(first, second) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("spans", ["3 to 4", (1, 2, 3), [(1,)], (1, math.nan), [(1, "2")], 5, None, (True, 2)])
def test_what_is_no_span_is_refused(spans: object) -> None:
    with pytest.raises(ValueError, match=r"expected \[start, end\] in seconds"):
        temporal_iou(spans, (1, 2))


@pytest.mark.parametrize("spans", [(2, 1), (1, 1), [], [(1, 2), (4, 3)]])
def test_gold_spans_end_after_they_start(spans: object) -> None:
    with pytest.raises(ValueError, match="start < end"):
        gold_spans(spans)


def official_grounding(span: tuple[float, float], gold: list[tuple[float, float]]) -> tuple[float, float]:
    """The official rule: negative shares are divided too, and lose against 0."""
    best = [0.0, 0.0]
    for first, last in gold:
        if span[0] == span[1]:
            pair = (0.0, 1.0 if first <= span[0] <= last else 0.0)
        else:
            both, either = min(last, span[1]) - max(first, span[0]), max(last, span[1]) - min(first, span[0])
            pair = (both / either if either > 0 else 0.0, both / (span[1] - span[0]) if span[1] > span[0] else 0.0)
        best = [max(old, new) for old, new in zip(best, pair, strict=True)]
    return best[0], best[1]


def test_nextgqa_by_hand_and_as_the_official_rule() -> None:
    """2..6 against 5..10 and 0..3: IoU 1/8 and 1/6, IoP 1/4 and 1/4."""
    assert nextgqa_grounding((2, 6), [(5, 10), (0, 3)]) == (pytest.approx(1 / 6), pytest.approx(1 / 4))
    assert nextgqa_grounding((5, 5), [(5, 10)]) == (0.0, 1.0)
    draw = random.Random(0)
    for _ in range(2000):
        gold = [
            (start, start + draw.randint(1, 8)) for start in (draw.randint(0, 9) for _ in range(draw.randint(1, 3)))
        ]
        span = (draw.randint(0, 12), draw.randint(0, 12))
        assert nextgqa_grounding(span, gold) == pytest.approx(official_grounding(span, gold), abs=1e-12)
        if len(gold) == 1 and span[0] != span[1]:
            assert temporal_iou(span, gold) == pytest.approx(nextgqa_grounding(span, gold)[0], abs=1e-12)


TEXTS = {
    "from 3.2 to 7.5 seconds": [(3.2, 7.5)],
    "From 3.2 seconds until 7.5 seconds.": [(3.2, 7.5)],
    "[3.2, 7.5]": [(3.2, 7.5)],
    "(3, 7)": [(3, 7)],
    "<3.2><7.5>": [(3.2, 7.5)],
    "<3.2 seconds> to <7.5 seconds>": [(3.2, 7.5)],
    "3.2s - 7.5s": [(3.2, 7.5)],
    "3.2-7.5": [(3.2, 7.5)],
    "24.3 \u2013 30.4.": [(24.3, 30.4)],
    "between 3.2 and 7.5 s": [(3.2, 7.5)],
    "00:03 - 00:07": [(3, 7)],
    "[00:03, 01:07.5]": [(3, 67.5)],
    "1:00:03 to 1:00:10": [(3603, 3610)],
    "1 min 30 s to 2 min 5 s": [(90, 125)],
    '{"start": 3.2, "end": 7.5}': [(3.2, 7.5)],
    '[{"start_time": "00:01", "end_time": "00:03"}]': [(1, 3)],
    "It starts at 3.2 s and ends at 7.5 s": [(3.2, 7.5)],
    "从3.2秒到7.5秒": [(3.2, 7.5)],
    "3.2 和 7.5 秒之间": [(3.2, 7.5)],
    "开始：3.2秒，结束：7.5秒": [(3.2, 7.5)],
    "1分30秒至2分5秒": [(90, 125)],
    "[[1, 2], [3, 4.5]]": [(1, 2), (3, 4.5)],
    "from 1 to 2 s and from 5 to 6 s": [(1, 2), (5, 6)],
    "<1><2>, <00:05><00:06>": [(1, 2), (5, 6)],
    "7.5 to 3.2": [(7.5, 3.2)],
    "[5, 5]": [(5, 5)],
    "": [],
    "at 3 seconds": [],
    "3, 7": [],
    "[-1, 3]": [],
    "[1, 2, 3, 4]": [],
    "3 people to 5": [],
    "step3 to 4": [],
}


@pytest.mark.parametrize("text", TEXTS)
def test_spans_in_texts(text: str) -> None:
    assert parse_spans(text) == TEXTS[text]


def test_the_reward_by_hand() -> None:
    """2..6 against 4..8: 2/6. Of the tags only what stands within counts; a row without gold has no reward."""
    reward = get_reward("temporal_iou")
    texts = ["<think>0 to 1</think><answer>[2, 6]</answer>", "from 00:04 to 00:08", "at 5 s", "[4, 8]"]
    assert reward(texts, spans=[[4, 8], [[4, 6], [6, 8]], [4, 8], None]) == pytest.approx([1 / 3, 1.0, 0.0, None])
    assert reward(["[2, 6]"], span=[[4, 8]]) == pytest.approx([1 / 3])


def test_the_reward_counts_from_the_start_of_a_clip() -> None:
    """The clip begins at 10 s of the file: 12..16 of the file are 2..6 of the clip; its own span is no answer."""
    reward = get_reward("temporal_iou")
    assert reward(["2 to 6", "12 to 16"], spans=[[12, 16]] * 2, clip_start=[10.0, 10.0]) == [1.0, 0.0]
    with pytest.raises(ValueError, match="needs a column `spans` or `span`"):
        reward(["2 to 6"], start=[10.0], end=[20.0], clip_start=[10.0])


def test_the_reward_takes_start_and_end_as_gold() -> None:
    reward = get_reward("temporal_iou")
    assert reward(["2 and 6", "2 to 6", "2 to 6"], start=[2, 4, None], end=[6, 8, 8]) == [
        1.0,
        pytest.approx(1 / 3),
        None,
    ]


@pytest.mark.parametrize("gold", [[8, 4], "4 to 8", [4], []])
def test_the_reward_refuses_gold_that_is_no_span(gold: object) -> None:
    with pytest.raises(ValueError, match="column `spans`: got"):
        get_reward("temporal_iou")(["[2, 6]"], spans=[gold])
