"""`metric: acc_gqa`: a question counts as right if its option is right and its span lies in the gold one (NExT-GQA, arXiv 2309.01327)."""

from collections.abc import Mapping
from typing import Any

from ...formats.fields import is_missing
from ...formats.texts.layout import answer_or_all
from ..arguments import ScoreArguments
from ..choices import correct_options
from ..span_texts import parse_spans
from ..spans import gold_spans, nextgqa_grounding
from . import Scored, read_texts
from .choice_accuracy import chosen_option


SUMMARY = (
    "multiple choice with a span of time: the option is right and IoP >= 0.5 (Acc@GQA); also each of the two alone"
)
SOURCE = "doc-doc/NExT-GQA code/TempGQA/eval_ground.py, its Acc@GQA"
FIELDS = ("choices", "answer", "span or spans")
LEAST_IOP = 0.5
PARTS = ("accuracy", "iop_0.5")


def dropped(fields: Mapping[str, Any]) -> str | None:
    """Return why a question does not count; here each does."""
    return None


def score(prediction: str, fields: Mapping[str, Any], arguments: ScoreArguments) -> Scored:
    """Score an answer that names an option and a span of time in seconds, as in `(B) dog, from 3.2 to 7.5 seconds`.

    The first span of the answer counts, with the gold span for which its IoP (time shared / length of the prediction) is best.

    Raises:
        ValueError: `choices` is not a list of texts, `answer` is none of them, or the gold spans are not two numbers each.
    """
    choices = read_texts(fields, "choices")
    field = "spans" if is_missing(fields.get("span")) else "span"
    try:
        gold = gold_spans(fields[field])
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from None
    chosen = chosen_option(prediction, choices, arguments)
    right = chosen in correct_options(choices, fields["answer"])
    spans = parse_spans(answer_or_all(prediction))
    grounded = bool(spans) and nextgqa_grounding(spans[0], gold)[1] >= LEAST_IOP
    missing = [name for name, found in (("option", chosen is not None), ("span", bool(spans))) if not found]
    remark = f"no {' and no '.join(missing)} could be read, scored 0" if missing else None
    return Scored(float(right and grounded), remark, {"accuracy": float(right), "iop_0.5": float(grounded)})
