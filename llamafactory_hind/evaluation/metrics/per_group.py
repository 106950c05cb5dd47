"""`metric: per_group`: right or wrong, to be read by group, such as OmniMedVQA by modality (KEPO, arXiv 2602.00400)."""

from collections.abc import Mapping
from typing import Any

from ...formats.texts.layout import answer_or_all
from ..aokvqa import correct_text, match_choice
from ..arguments import ScoreArguments
from . import Scored, read_texts


SUMMARY = (
    "accuracy of the answer in <answer> tags, else of the whole text, for each value of group_by (see choice_matching)"
)
SOURCE = "the protocol of KEPO (arXiv 2602.00400): letter match; its code was not compared"
FIELDS = ("answer",)


def dropped(fields: Mapping[str, Any]) -> str | None:
    """Return why a question does not count; here each does."""
    return None


def score(prediction: str, fields: Mapping[str, Any], arguments: ScoreArguments) -> Scored:
    """Score one prediction against `answer`, with `choices` as `rewards.choice` does, without as equal text.

    Raises:
        ValueError: `answer` is no text, or none of `choices`.
    """
    said, gold = answer_or_all(prediction), fields["answer"]
    if fields.get("choices") is None:
        if not isinstance(gold, str):
            raise ValueError(f"answer: got {gold!r}, expected text.")
        return Scored(float(said == answer_or_all(gold)))
    choices = read_texts(fields, "choices")
    correct = correct_text(
        choices, gold if isinstance(gold, int) else match_choice(answer_or_all(str(gold)), choices) or gold
    )
    if arguments.choice_matching == "exact":
        return Scored(float(said in (str(gold), correct)))
    chosen = match_choice(said, choices)
    return Scored(float(chosen == correct), None if chosen is not None else "none of the choices")
