"""`metric: aokvqa_direct`: the Direct Answer setting of A-OKVQA (arXiv 2206.01718)."""

from collections.abc import Mapping
from typing import Any

from ..aokvqa import ENOUGH_MATCHES, aokvqa_direct
from ..arguments import ScoreArguments
from . import Scored, read_texts


SUMMARY = "A-OKVQA, direct answers: equal texts, min(1, matches / 3)"
SOURCE = "allenai/aokvqa evaluation/eval_predictions.py"
FIELDS = ("answers",)


def dropped(fields: Mapping[str, Any]) -> str | None:
    """Return why a question does not count: the official mean leaves out those marked `difficult_direct_answer`.

    Raises:
        ValueError: the mark is neither true nor false.
    """
    mark = fields.get("difficult_direct_answer")  # absent: rows of another data set, which know no such mark
    if mark is not None and not isinstance(mark, bool):
        raise ValueError(f"difficult_direct_answer: got {mark!r}, expected true, false or null.")
    return "difficult_direct_answer" if mark else None


def score(prediction: str, fields: Mapping[str, Any], arguments: ScoreArguments) -> Scored:
    """Score one prediction against `answers`.

    Raises:
        ValueError: `answers` is not a list of texts.
    """
    answers = read_texts(fields, "answers")
    few = (
        f"fewer than {ENOUGH_MATCHES} references, so 1.0 cannot be reached" if len(answers) < ENOUGH_MATCHES else None
    )
    return Scored(aokvqa_direct(prediction, answers), few)
