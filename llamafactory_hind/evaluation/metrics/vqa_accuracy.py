"""`metric: vqa_accuracy`: the official VQA accuracy over ten references, for OK-VQA and VQA v2."""

from collections.abc import Mapping
from typing import Any

from ..arguments import ScoreArguments
from ..vqa import vqa_accuracy
from . import Scored, read_texts


SUMMARY = "official VQA accuracy (OK-VQA, VQA v2)"
SOURCE = "GT-Vision-Lab/VQA vqaEval.py"
FIELDS = ("answers",)
LEAST_REFERENCES = 4  # three others must agree with each reference


def dropped(fields: Mapping[str, Any]) -> str | None:
    """Return why a question does not count; here each does."""
    return None


def score(prediction: str, fields: Mapping[str, Any], arguments: ScoreArguments) -> Scored:
    """Score one prediction against `answers`.

    Raises:
        ValueError: `answers` is not a list of texts.
    """
    answers = read_texts(fields, "answers")
    few = (
        f"fewer than {LEAST_REFERENCES} references, so 1.0 cannot be reached"
        if len(answers) < LEAST_REFERENCES
        else None
    )
    return Scored(vqa_accuracy(prediction, answers), few)
