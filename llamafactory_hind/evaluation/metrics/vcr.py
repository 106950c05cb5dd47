"""`metric: vcr`: Q->A, QA->R and Q->AR of VCR (arXiv 1811.10830)."""

from collections.abc import Mapping
from typing import Any

from ..arguments import ScoreArguments
from ..vcr import CHOICES, vcr_accuracy
from . import Scored, read_index, read_scores


SUMMARY = "VCR: both answer and rationale right (Q->AR), and each alone (q2a, qa2r); of equal scores the first wins"
SOURCE = "rowanz/r2c models/eval_q2ar.py"
FIELDS = ("answer_label", "rationale_label")
PREDICTED = ("answer_scores", "rationale_scores")
PARTS = ("q2a", "qa2r")


def dropped(fields: Mapping[str, Any]) -> str | None:
    """Return why a question does not count; here each does."""
    return None


def score(prediction: Mapping[str, Any], fields: Mapping[str, Any], arguments: ScoreArguments) -> Scored:
    """Score the four scores of the answers, and of the rationales given the gold answer, against the two labels.

    Raises:
        ValueError: a list of scores is not four numbers, or a label is none of 0..3.
    """
    scores = [read_scores(prediction, field, CHOICES) for field in PREDICTED]
    labels = [read_index(fields, field, 0, CHOICES - 1) for field in FIELDS]
    found = vcr_accuracy([scores[0]], [scores[1]], [labels[0]], [labels[1]])
    tied = any(values.count(max(values)) > 1 for values in scores)
    remark = "equal best scores, the first choice wins" if tied else None
    return Scored(found["q2ar"], remark, {part: found[part] for part in PARTS})
