"""`metric: choice_accuracy`: multiple choice by question type, for NExT-QA, IntentQA and STAR."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..arguments import ScoreArguments
from ..choices import correct_options, exact_choice, parse_choice
from ..question_types import NEXT_GROUPS, NEXT_TYPES, STAR_TYPES, names_of_type
from . import Scored, read_texts


SUMMARY = "multiple choice: accuracy, by `type` and as mean over the types (see choice_matching, first_number)"
SOURCE = "doc-doc/NExT-QA eval_mc.py and JoseponLee/IntentQA eval_intentqa.py; STAR has no official code"
FIELDS = ("choices", "answer")
PARTS = (*NEXT_TYPES, *STAR_TYPES, *(f"all {group}" for group in NEXT_GROUPS))


def dropped(fields: Mapping[str, Any]) -> str | None:
    """Return why a question does not count; here each does."""
    return None


def parts(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the type of a question, NExT-QA's TP as TN, and NExT-QA's group; nothing where it has no type.

    Raises:
        ValueError: `type` is no text.
    """
    kind = fields.get("type")
    if kind is None:
        return ()
    if not isinstance(kind, str):
        raise ValueError(f"type: got {kind!r:.160}, expected text, or null.")
    name, *groups = names_of_type(kind)
    return (name, *(f"all {group}" for group in groups))


def averaged(part: str) -> bool:
    """Say whether the mean over types takes in this part: all but NExT-QA's groups."""
    return part not in {f"all {group}" for group in NEXT_GROUPS}


def score(prediction: str, fields: Mapping[str, Any], arguments: ScoreArguments) -> Scored:
    """Score the option that a prediction names against `answer`, the text, letter or index from 0 of one of `choices`.

    Raises:
        ValueError: `choices` is not a list of texts, or `answer` is none of them.
    """
    choices = read_texts(fields, "choices")
    correct = correct_options(choices, fields["answer"])
    chosen = chosen_option(prediction, choices, arguments)
    right = float(chosen in correct)
    remark = "no option could be read, scored wrong" if chosen is None else None
    return Scored(right, remark, dict.fromkeys(parts(fields), right))


def chosen_option(prediction: str, choices: Sequence[str], arguments: ScoreArguments) -> int | None:
    """Return the index of the option that a prediction names; None where it names none."""
    read = exact_choice if arguments.choice_matching == "exact" else parse_choice
    return read(prediction, choices, first_number=arguments.first_number)
