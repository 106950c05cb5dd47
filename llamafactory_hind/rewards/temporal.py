"""A reward for pointing into a video: how well the spans of time of an answer lie on the gold ones."""

from collections.abc import Mapping, Sequence
from typing import Any

from .. import evaluation
from ..evaluation.span_texts import parse_spans
from ..evaluation.spans import Span, gold_spans
from ..formats.texts.layout import answer_or_all
from .columns import gold_values, score_rows


def temporal_iou(completions: Sequence[str], **columns: Any) -> list[float | None]:
    """Return the IoU of the answer's spans of time with the gold ones: time shared / time covered together, 0..1 [ours].

    Spans are read from the answer (between `<answer>` tags, else all of the completion) as `evaluation.span_texts.parse_spans`
    does: `[3.2, 7.5]`, `from 3.2 to 7.5 seconds`, `<3.2><7.5>`, `00:03 - 00:07`. Several spans are one set: surplus time costs,
    repeated time does not. No span, and one that ends before it starts, scores 0.

    VideoChat-R1 (arXiv 2504.06958) rewards IoU too, of the one span `start to end` or `start and end` that its answers hold; its code
    divides by zero where both spans are empty, and this one does not.

    Args:
        completions: texts.
        columns: `spans` or `span`, [start, end] in seconds or a list of such; without these columns `start` and `end`, numbers.
            None where the reward does not apply. Rows of `formatting: video_reasoning` have `clip_start`: their spans are seconds of
            the file and the model counts from the clip's start, so that much is taken off; their `start` and `end` are no answer.
    """
    golds = _golds(columns, len(completions))
    return score_rows(
        completions, golds, lambda text, gold: evaluation.temporal_iou(parse_spans(answer_or_all(text)), gold)
    )


def _golds(columns: Mapping[str, Sequence[Any]], count: int) -> list[list[Span] | None]:
    if "start" in columns and "end" in columns and not {"spans", "span", "clip_start"} & set(columns):
        pairs = zip(columns["start"], columns["end"], strict=True)
        values = [("start, end", None if start is None or end is None else [start, end]) for start, end in pairs]
    else:
        values = gold_values(columns, ("spans", "span"), count)
    starts = columns.get("clip_start") or [None] * count
    return [_gold_spans(field, value, start or 0.0) for (field, value), start in zip(values, starts, strict=True)]


def _gold_spans(field: str, value: Any, clip_start: float) -> list[Span] | None:
    try:
        found = None if value is None else gold_spans(value)
    except ValueError as error:
        raise ValueError(f"column `{field}`: {error}") from None
    return found and [(start - clip_start, end - clip_start) for start, end in found]


REWARDS = {"temporal_iou": temporal_iou}
