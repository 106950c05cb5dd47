"""A reward for pointing into a video: how well the spans of time of an answer lie on the gold ones."""

from collections.abc import Sequence
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

    Args:
        completions: texts.
        columns: `spans` or `span`, [start, end] in seconds or a list of such; None where the reward does not apply.
    """
    golds = [_gold_spans(field, value) for field, value in gold_values(columns, ("spans", "span"), len(completions))]
    return score_rows(
        completions, golds, lambda text, gold: evaluation.temporal_iou(parse_spans(answer_or_all(text)), gold)
    )


def _gold_spans(field: str, value: Any) -> list[Span] | None:
    try:
        return None if value is None else gold_spans(value)
    except ValueError as error:
        raise ValueError(f"column `{field}`: {error}") from None


REWARDS = {"temporal_iou": temporal_iou}
