"""`metric: aokvqa_choice`: the Multiple Choice setting of A-OKVQA (arXiv 2206.01718)."""

from collections.abc import Mapping
from typing import Any

from ..aokvqa import aokvqa_choice, correct_text, match_choice
from ..arguments import ScoreArguments
from . import Scored, read_texts


SUMMARY = "A-OKVQA, multiple choice: accuracy (see choice_matching)"
SOURCE = "allenai/aokvqa evaluation/eval_predictions.py"
FIELDS = ("choices", "correct_choice")


def dropped(fields: Mapping[str, Any]) -> str | None:
    """Return why a question does not count; here each does."""
    return None


def score(prediction: str, fields: Mapping[str, Any], arguments: ScoreArguments) -> Scored:
    """Score one prediction against `correct_choice`, the text or the index of one of `choices`.

    Raises:
        ValueError: `choices` is not a list of texts, or `correct_choice` is none of them.
    """
    choices = read_texts(fields, "choices")
    correct = correct_text(choices, fields["correct_choice"])
    chosen = prediction if arguments.choice_matching == "exact" else match_choice(prediction, choices)
    if chosen not in choices:
        return Scored(0.0, "none of the choices")
    return Scored(aokvqa_choice(chosen, choices, correct))
