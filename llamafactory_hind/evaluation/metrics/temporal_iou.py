"""`metric: temporal_iou`: spans of time in an answer against gold ones, for temporal grounding (NExT-GQA, Charades-STA)."""

from collections.abc import Mapping
from typing import Any

from ...formats.fields import is_missing
from ...formats.texts.layout import answer_or_all
from ..arguments import ScoreArguments
from ..span_texts import parse_spans
from ..spans import gold_spans, nextgqa_grounding, temporal_iou
from . import Scored


SUMMARY = (
    "spans of time: mean IoU of the sets, shares above 0.3, 0.5 and 0.7, and NExT-GQA's IoU and IoP of the first span"
)
SOURCE = "doc-doc/NExT-GQA code/TempGQA/eval_ground.py in the parts nextgqa_*; the IoU of sets is ours"
FIELDS = ("span or spans",)
THRESHOLDS = (0.3, 0.5, 0.7)
NEXTGQA_THRESHOLDS = (0.3, 0.5)
PARTS = (
    *(f"iou_{threshold}" for threshold in THRESHOLDS),
    *(
        name
        for kind in ("iou", "iop")
        for name in (f"nextgqa_{kind}", *(f"nextgqa_{kind}_{t}" for t in NEXTGQA_THRESHOLDS))
    ),
)


def dropped(fields: Mapping[str, Any]) -> str | None:
    """Return why a question does not count; here each does."""
    return None


def score(prediction: str, fields: Mapping[str, Any], arguments: ScoreArguments) -> Scored:
    """Score the spans in <answer> tags, else of the whole text, against `span` or `spans`, in seconds.

    Raises:
        ValueError: the gold spans are not two numbers each, the first the smaller one.
    """
    field = "spans" if is_missing(fields.get("span")) else "span"
    try:
        gold = gold_spans(fields[field])
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from None
    predicted = parse_spans(answer_or_all(prediction))
    if not predicted:
        return Scored(0.0, "no span could be read, scored 0", dict.fromkeys(PARTS, 0.0))
    iou = temporal_iou(predicted, gold)
    parts = {f"iou_{threshold}": float(iou >= threshold) for threshold in THRESHOLDS}
    for kind, value in zip(("iou", "iop"), nextgqa_grounding(predicted[0], gold), strict=True):
        parts[f"nextgqa_{kind}"] = value
        parts |= {f"nextgqa_{kind}_{limit}": float(value >= limit) for limit in NEXTGQA_THRESHOLDS}
    reversed_span = any(start > end for start, end in predicted)
    return Scored(iou, "a span ends before it starts and counts as empty" if reversed_span else None, parts)
