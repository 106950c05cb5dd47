"""Transformations of TRANCE as triples `function(object, value)` (Reason-RFT, arXiv 2503.20752): reading and pairing.

The rule of `rewards.trance` and of `metric: trance`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass


TRIPLE = re.compile(r"(?P<function>\w+)\((?P<object>\w+),\s*'?(?P<value>\w+)'?\)")
Triple = tuple[str, str, str]


@dataclass(frozen=True)
class Credits:
    """What a pair of triples earns that agree in everything, in function and object, in function and value, in function."""

    full: float
    function_object: float
    function_value: float
    function: float


PARTIAL = Credits(1.0, 0.5, 0.5, 0.25)


def read_triples(text: str) -> list[Triple]:
    """Return every `function(object, value)` in the order of the text; the value may be in single quotes."""
    return [(match["function"], match["object"], match["value"]) for match in TRIPLE.finditer(text)]


def gold_triples(text: str) -> list[Triple]:
    """Return the different triples of a gold answer.

    Raises:
        ValueError: it has none; without the name of the field, which the caller knows.
    """
    triples = list(dict.fromkeys(read_triples(text)))
    if not triples:
        raise ValueError(f"got {text!r:.160}, expected triples such as `change_color(0, red)`.")
    return triples


def pair_triples(written: Sequence[Triple], gold: Sequence[Triple], credits: Credits) -> float:
    """Return what the different triples written earn against the different gold ones, divided by the larger number.

    Pairs are taken greedily: everything agrees first, then function and object, function and value, function; within each in
    the order of the answer, then of the gold answer. A pair takes both its triples out. No triples written earn 0.
    """
    if not written:
        return 0.0
    predicted, remaining = list(dict.fromkeys(written)), list(gold)
    larger = max(len(predicted), len(remaining))
    levels: list[tuple[Callable[[Triple], tuple[str, ...]], float]] = [
        (lambda triple: triple, credits.full),
        (lambda triple: triple[:2], credits.function_object),
        (lambda triple: (triple[0], triple[2]), credits.function_value),
        (lambda triple: triple[:1], credits.function),
    ]
    return sum(credit * _pair_off(predicted, remaining, key) for key, credit in levels) / larger


def _pair_off(predicted: list[Triple], remaining: list[Triple], key: Callable[[Triple], tuple[str, ...]]) -> int:
    """Take out the pairs that agree in `key`, from both lists, and return how many they were."""
    pairs = 0
    for triple in list(predicted):
        partner = next((other for other in remaining if key(other) == key(triple)), None)
        if partner is not None:
            predicted.remove(triple)
            remaining.remove(partner)
            pairs += 1
    return pairs
