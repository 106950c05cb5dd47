"""Spans of time (start, end) in seconds: IoU of sets of spans [ours], and NExT-GQA's scores (arXiv 2309.01327).

NExT-GQA's are equal to doc-doc/NExT-GQA `code/TempGQA/eval_ground.py`.
"""

import math
import numbers
from collections.abc import Sequence
from typing import Any


Span = tuple[float, float]


def temporal_iou(prediction: Any, gold: Any) -> float:
    """Return the time that two sets of spans share, divided by the time that they cover together.

    Overlapping spans of one set count once. A span that ends before it starts, or when it starts, is empty: it neither
    helps nor costs. Spans that share nothing, and sets that cover nothing together, give 0.

    Args:
        prediction: (start, end) in seconds, or a list of such spans, which may be empty.
        gold: the same.

    Returns:
        0..1.

    Raises:
        ValueError: a span is not two finite numbers.
    """
    first, second = merge_spans(as_spans(prediction)), merge_spans(as_spans(gold))
    shared = math.fsum(
        max(0.0, min(end, other_end) - max(start, other_start))
        for start, end in first
        for other_start, other_end in second
    )
    covered = _length(first) + _length(second) - shared
    return shared / covered if covered > 0 else 0.0


def as_spans(value: Any) -> list[Span]:
    """Return one span or a list of spans as a list.

    Raises:
        ValueError: a span is not two finite numbers; without the name of the field, which the caller knows.
    """
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    spans = [value] if listed and value and isinstance(value[0], numbers.Real) else value
    if not isinstance(spans, Sequence) or isinstance(spans, str) or not all(map(_is_span, spans)):
        raise ValueError(f"got {value!r:.160}, expected [start, end] in seconds, or a list of such spans.")
    return [(float(start), float(end)) for start, end in spans]


def gold_spans(value: Any) -> list[Span]:
    """Return gold spans, given as one or as a list.

    Raises:
        ValueError: there is none, or one does not end after it starts; without the name of the field.
    """
    spans = as_spans(value)
    if not spans or any(start >= end for start, end in spans):
        raise ValueError(
            f"got {value!r:.160}, expected [start, end] in seconds with start < end, or a list of such spans."
        )
    return spans


def merge_spans(spans: Sequence[Span]) -> list[Span]:
    """Return the same time as spans that do not overlap, in order; empty spans are left out."""
    merged: list[Span] = []
    for start, end in sorted(span for span in spans if span[1] > span[0]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def nextgqa_grounding(span: Span, gold: Sequence[Span]) -> tuple[float, float]:
    """Return IoU and IoP of one predicted span, each with the gold span for which it is best.

    IoP is the time shared, divided by the length of the prediction. A prediction of no length has IoU 0, and IoP 1 within a
    gold span, as in the official code; one that ends before it starts has 0.
    """
    start, end = span
    if start == end:
        return 0.0, float(any(first <= start <= last for first, last in gold))
    iou = iop = 0.0
    for first, last in gold:
        shared = min(last, end) - max(first, start)
        if shared > 0:  # the official code divides negative lengths too, and then never takes them
            iou = max(iou, shared / (max(last, end) - min(first, start)))
            iop = max(iop, shared / (end - start))
    return iou, iop


def _is_span(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) == 2
        and all(
            isinstance(time, numbers.Real) and not isinstance(time, bool) and math.isfinite(time) for time in value
        )
    )


def _length(spans: Sequence[Span]) -> float:
    return math.fsum(end - start for start, end in spans)
