"""The score of VCR (Visual Commonsense Reasoning, arXiv 1811.10830), equal to rowanz/r2c `models/eval_q2ar.py`.

A model scores four answers to a question, and four rationales given the question and its GOLD answer.
"""

import math
from collections.abc import Iterable, Sequence


CHOICES = 4


def first_best(scores: Iterable[float]) -> int | None:
    """Return the index of the highest score: of equal ones the first, as numpy's argmax; NaN never wins (there it does).

    Returns:
        None where there is no score but NaN.
    """
    best, index = -math.inf, None
    for place, score in enumerate(scores):
        if score > best or (index is None and not math.isnan(score)):
            best, index = score, place
    return index


def vcr_accuracy(
    answer_scores: Sequence[Sequence[float]],
    rationale_scores: Sequence[Sequence[float]],
    answer_labels: Sequence[int],
    rationale_labels: Sequence[int],
) -> dict[str, float]:
    """Return the share of questions whose best answer, whose best rationale, and whose both are right.

    Args:
        answer_scores: (N, 4), higher is better, of any unit.
        rationale_scores: (N, 4), given the gold answer.
        answer_labels: (N,), index of the right answer.
        rationale_labels: (N,), index of the right rationale.

    Returns:
        `q2a`, `qa2r` and `q2ar`, each in 0..1.

    Raises:
        ValueError: there is no question, the lengths differ, a row has not four scores, or a label is none of 0..3.
    """
    count = len(answer_labels)
    lengths = [len(answer_scores), len(rationale_scores), count, len(rationale_labels)]
    if count == 0 or len(set(lengths)) > 1:
        raise ValueError(
            "answer_scores, rationale_scores, answer_labels, rationale_labels: "
            f"got {', '.join(map(str, lengths))} rows, expected the same number of each, at least one."
        )
    answers = _hits("answer", answer_scores, answer_labels)
    rationales = _hits("rationale", rationale_scores, rationale_labels)
    both = [answer and rationale for answer, rationale in zip(answers, rationales, strict=True)]
    return {name: sum(hits) / count for name, hits in (("q2a", answers), ("qa2r", rationales), ("q2ar", both))}


def _hits(kind: str, scores: Sequence[Sequence[float]], labels: Sequence[int]) -> list[bool]:
    hits = []
    for row in range(len(labels)):
        values, label = [float(score) for score in scores[row]], int(labels[row])
        if len(values) != CHOICES:
            raise ValueError(f"{kind}_scores, row {row}: got {len(values)} scores, expected {CHOICES}.")
        if not 0 <= label < CHOICES:
            raise ValueError(f"{kind}_labels, row {row}: got {label}, expected an index from 0 to {CHOICES - 1}.")
        hits.append(first_best(values) == label)
    return hits
