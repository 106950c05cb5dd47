"""Which knowledge helps, and which two texts make a pair (HinD, arXiv 2511.11132; rules are ours, see docs/synth.md).

Pure functions over numbers and texts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Fact:
    """One sampled knowledge text.

    Attributes:
        text: what was written.
        confidence: mean log-probability a token under the model that wrote it, temperature 1.
        value: how much it helps, in the unit of the rule: nats (`gain`), VQA accuracy (`outcome`), 0 or 1 (`lexical`).
        helpful: whether that is enough.
        usable: whether it may be in a pair.
    """

    text: str
    confidence: float
    value: float
    helpful: bool
    usable: bool = True


Pair = tuple[Fact, Fact]  # chosen, rejected


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


def pair_fields(pair: Pair) -> dict[str, Any]:
    """Return the columns of a pair: texts, confidences and values."""
    chosen, rejected = pair
    return {
        "chosen": chosen.text,
        "rejected": rejected.text,
        "chosen_confidence": chosen.confidence,
        "rejected_confidence": rejected.confidence,
        "helpfulness": chosen.value,
        "rejected_helpfulness": rejected.value,
    }
