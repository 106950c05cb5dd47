"""Self-consistency: the answer that most pieces of knowledge lead to (Wang et al., arXiv 2203.11171)."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...evaluation.vqa import normalize_answer


@dataclass(frozen=True)
class Vote:
    """The outcome of a vote.

    Attributes:
        answer: the winner, as the first of its voters wrote it.
        share: of the votes that it got, 0..1.
        counts: votes by normalised answer.
    """

    answer: str
    share: float
    counts: dict[str, int]


def vote(answers: Sequence[str]) -> Vote:
    """Count answers that are equal after VQA normalisation as one; empty ones have no vote, the earlier wins a tie.

    Raises:
        ValueError: there is no answer at all.
    """
    if not answers:
        raise ValueError("answers: got none, expected one or more.")
    counts: dict[str, int] = {}
    first: dict[str, str] = {}
    for answer in answers:
        normalized = normalize_answer(answer)
        if normalized:
            counts[normalized] = counts.get(normalized, 0) + 1
            first.setdefault(normalized, answer)
    if not counts:
        return Vote(answers[0], 0.0, {})
    winner = max(counts, key=lambda normalized: counts[normalized])  # max keeps the first of equals
    return Vote(first[winner], counts[winner] / len(answers), counts)
