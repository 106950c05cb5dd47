"""What a sampled fact is worth to the answerer (rules are ours, see docs/synth.md)."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...engines.interface import FinishReason
from ...evaluation.gold_answers import gold_answers, soft_score
from ...formats.media.fields import count_placeholders
from .golds import says_gold
from .pairing import Fact, gain, is_helpful


def usable(record: Mapping[str, Any]) -> bool:
    """Say whether a text can be in a pair: whole, not empty, without media placeholders."""
    return (
        bool(record["text"])
        and record["finish_reason"] == FinishReason.STOP
        and not any(count_placeholders(record["text"]).values())
    )


def judge_fact(
    record: Mapping[str, Any],
    result: Mapping[str, Any],
    *,
    answer: str,
    references: Sequence[str] | None,
    helpful_by: str,
    threshold: float | None,
) -> Fact:
    """Return a sampled text with its value and whether it helps; an unusable text helps nobody.

    Args:
        record: `text`, `confidence` and `finish_reason`.
        result: what the answerer made of the question: `without` a fact, and `with` each text.
        answer: the gold answer.
        references: answers of several people, if there are any.
        helpful_by: `gain` (nats), `outcome` (VQA accuracy) or `lexical` (0 or 1).
        threshold: what gain and outcome must exceed; None is 0.
    """
    text, confidence = record["text"], record["confidence"]
    if not usable(record):
        return Fact(text, confidence, 0.0, False, usable=False)
    if helpful_by == "lexical":
        named = says_gold(text, gold_answers(answer, references), in_order=False)
        return Fact(text, confidence, float(named), named)
    read, unread = result["with"][text], result["without"]
    if helpful_by == "gain":
        value = gain(read, unread)
    else:
        value = soft_score(read, answer, references) - soft_score(unread, answer, references)
    return Fact(text, confidence, value, is_helpful(value, threshold))
