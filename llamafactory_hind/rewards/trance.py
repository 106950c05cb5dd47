"""Rewards for TRANCE: which functions turn one scene into another, after Reason-RFT (arXiv 2503.20752).

An answer is a list of triples such as `change_color(0, red), change_shape(1, cube)`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..formats.texts.layout import answer_or_all
from .columns import gold_texts, score_rows
from .errors import shorten


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
FULL_ONLY = Credits(1.0, 0.0, 0.0, 0.0)
PENALTY = Credits(1.0, -0.25, -0.25, -0.5)


def trance(completions: Sequence[str], **columns: Any) -> list[float | None]:
    """Return w (1.0 n_full + 0.5 n_(function, object) + 0.5 n_(function, value) + 0.25 n_function), at most 1.

    P are the different triples of the answer (between `<answer>` tags, else all of the completion) and S those of the gold
    answer; w = u / max(|P|, |S|), where u = |P| / number of triples written. Triples are paired greedily: everything first,
    then function and object, function and value, function; within each in the order of the answer, then of the gold answer. A
    pair takes both its triples out. An answer without triples scores 0.

    Equal to Reason-RFT's `func_accuracy_reward` (train/stage_rl/reward.py), but that its order is the arbitrary one of a set
    and that it falls back to the whole completion, thoughts included, where an answer holds a newline.

    Args:
        completions: texts.
        columns: `answer` or `solution`, with at least one triple; None where the reward does not apply.
    """
    return _score(completions, columns, PARTIAL)


def trance_full(completions: Sequence[str], **columns: Any) -> list[float | None]:
    """Return w n_full: `trance` without part credit (Reason-RFT's `only_full_func_accuracy_reward`, of its RL scripts)."""
    return _score(completions, columns, FULL_ONLY)


def trance_penalty(completions: Sequence[str], **columns: Any) -> list[float | None]:
    """Return w (n_full - 0.25 n_(function, object) - 0.25 n_(function, value) - 0.5 n_function).

    `trance` with part agreement as a fault (Reason-RFT's `penalty_func_accuracy_reward`); may be negative.
    """
    return _score(completions, columns, PENALTY)


def read_triples(text: str) -> list[Triple]:
    """Return every `function(object, value)` in the order of the text; the value may stand in single quotes."""
    return [(match["function"], match["object"], match["value"]) for match in TRIPLE.finditer(text)]


def _score(completions: Sequence[str], columns: dict[str, Any], credits: Credits) -> list[float | None]:
    golds = [None if gold is None else _gold_triples(gold) for gold in gold_texts(columns, len(completions))]
    return score_rows(
        completions, golds, lambda text, gold: score_triples(read_triples(answer_or_all(text)), gold, credits)
    )


def _gold_triples(gold: str) -> list[Triple]:
    triples = list(dict.fromkeys(read_triples(gold)))
    if not triples:
        raise ValueError(f"gold answer: got {shorten(gold)}, expected triples such as `change_color(0, red)`.")
    return triples


def score_triples(written: Sequence[Triple], gold: Sequence[Triple], credits: Credits) -> float:
    """Return the reward of the triples written, repetitions included, against the different gold ones."""
    if not written:
        return 0.0
    predicted, remaining = list(dict.fromkeys(written)), list(gold)
    weight = len(predicted) / len(written) / max(len(predicted), len(remaining))
    levels: list[tuple[Callable[[Triple], tuple[str, ...]], float]] = [
        (lambda triple: triple, credits.full),
        (lambda triple: triple[:2], credits.function_object),
        (lambda triple: (triple[0], triple[2]), credits.function_value),
        (lambda triple: triple[:1], credits.function),
    ]
    earned = 0.0
    for key, credit in levels:
        earned += credit * _pair_off(predicted, remaining, key)
    return weight * earned


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
