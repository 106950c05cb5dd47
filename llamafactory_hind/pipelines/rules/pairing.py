"""Which knowledge helps, and which two texts make a pair (HinD, arXiv 2511.11132; rules are ours, see docs/synth.md).

Pure functions over numbers and texts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ...evaluation.vqa import normalize_answer, vqa_accuracy


FULL_AGREEMENT = 3  # references that must agree on an answer for it to score 1 in VQA


@dataclass(frozen=True)
class Fact:
    """One sampled knowledge text.

    Attributes:
        text: what was written.
        confidence: mean log-probability a token under the model that wrote it, temperature 1.
        value: how much it helps, in the unit of the rule: nats (`gain`), VQA accuracy (`outcome`), 0 or 1 (`lexical`).
        helpful: whether that is enough.
    """

    text: str
    confidence: float
    value: float
    helpful: bool


Pair = tuple[Fact, Fact]  # chosen, rejected


def gold_answers(answer: str, references: Sequence[str] | None) -> list[str]:
    """Return the answer, and the references that enough people agree on to score 1."""
    references = [reference for reference in references or [] if isinstance(reference, str)]
    agreed = [text for text in dict.fromkeys(references) if references.count(text) >= FULL_AGREEMENT]
    return list(dict.fromkeys([answer, *agreed]))


def mentions(text: str, answers: Sequence[str]) -> bool:
    """Say whether an answer occurs in the text, as whole words after VQA normalisation."""
    words = f" {normalize_answer(text)} "
    normalized = (normalize_answer(answer) for answer in answers)
    return any(answer and f" {answer} " in words for answer in normalized)


def soft_score(prediction: str, answer: str, references: Sequence[str] | None) -> float:
    """Return the VQA accuracy; without several references, whether the normalised answers are equal."""
    if references is not None and len(references) > 1:
        return vqa_accuracy(prediction, references)
    return float(normalize_answer(prediction) == normalize_answer(answer))


def gain(with_fact: float, without: float) -> float:
    """Return `log p(a*|x,k) - log p(a*|x)` in nats, under the frozen answerer."""
    return with_fact - without


def is_helpful(value: float, threshold: float | None) -> bool:
    """Say whether a value is above the threshold; null is 0, that is any improvement."""
    return value > (threshold or 0.0)


def misaligned_pairs(facts: Sequence[Fact]) -> list[Pair]:
    """Pair the least confident helpful fact with the most confident unhelpful one, if it is the less confident of the two."""
    helpful = [fact for fact in facts if fact.helpful]
    unhelpful = [fact for fact in facts if not fact.helpful]
    if not helpful or not unhelpful:
        return []
    chosen = min(helpful, key=lambda fact: fact.confidence)
    rejected = max(unhelpful, key=lambda fact: fact.confidence)
    return [(chosen, rejected)] if chosen.confidence < rejected.confidence else []


def best_worst_pairs(facts: Sequence[Fact]) -> list[Pair]:
    """Pair the fact of the highest value with that of the lowest, whatever their confidence: plain DPO."""
    if not facts:
        return []
    best, worst = max(facts, key=lambda fact: fact.value), min(facts, key=lambda fact: fact.value)
    return [(best, worst)] if best.value > worst.value else []


def all_pairs(facts: Sequence[Fact]) -> list[Pair]:
    """Pair every helpful fact with every unhelpful one."""
    return [(chosen, rejected) for chosen in facts if chosen.helpful for rejected in facts if not rejected.helpful]


PAIR_RULES: Mapping[str, Callable[[Sequence[Fact]], list[Pair]]] = {
    "misaligned": misaligned_pairs,
    "best_worst": best_worst_pairs,
    "all": all_pairs,
}


def distinct(facts: Sequence[Fact]) -> list[Fact]:
    """Keep the first of facts with the same text."""
    first: dict[str, Fact] = {}
    for fact in facts:
        first.setdefault(fact.text, fact)
    return list(first.values())
