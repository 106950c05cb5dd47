"""Rewards for TRANCE: which functions turn one scene into another, after Reason-RFT (arXiv 2503.20752).

An answer is a list of triples such as `change_color(0, red), change_shape(1, cube)`.
"""

from collections.abc import Sequence
from typing import Any

from ..evaluation.triples import PARTIAL, Credits, Triple, gold_triples, pair_triples, read_triples
from ..formats.texts.layout import answer_or_all
from .columns import gold_texts, score_rows


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


def _score(completions: Sequence[str], columns: dict[str, Any], credits: Credits) -> list[float | None]:
    golds = [None if gold is None else _gold_triples(gold) for gold in gold_texts(columns, len(completions))]
    return score_rows(
        completions, golds, lambda text, gold: score_triples(read_triples(answer_or_all(text)), gold, credits)
    )


def _gold_triples(gold: str) -> list[Triple]:
    try:
        return gold_triples(gold)
    except ValueError as error:
        raise ValueError(f"gold answer: {error}") from None


def score_triples(written: Sequence[Triple], gold: Sequence[Triple], credits: Credits) -> float:
    """Return the reward of the triples written, repetitions included, against the different gold ones."""
    return len(set(written)) / len(written) * pair_triples(written, gold, credits) if written else 0.0


REWARDS = {"trance": trance, "trance_full": trance_full, "trance_penalty": trance_penalty}
