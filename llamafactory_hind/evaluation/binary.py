"""Scores of an accepting critic against labels: accuracy, ranking, calibration, and what each threshold keeps."""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby


BINS = 10  # [ours] of the calibration error
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)  # LSKD: 0.7 in its training files, 0.8 in the released corpus


def accuracy(scores: Sequence[float], labels: Sequence[int], *, threshold: float = 0.5) -> float:
    """Return the share of rows whose score is at least `threshold` exactly where the label is 1; NaN without rows."""
    return _mean([(score >= threshold) == bool(label) for score, label in zip(scores, labels, strict=True)])


def auroc(scores: Sequence[float], labels: Sequence[int]) -> float:
    """Return the chance that an accepted row has a higher score than a rejected one, ties counted half.

    NaN where one of the two labels does not occur.
    """
    positives, negatives = sum(map(bool, labels)), len(labels) - sum(map(bool, labels))
    if not positives or not negatives:
        return math.nan
    below, won = 0, 0.0
    for accepted, rejected in _tied(scores, labels, descending=False):
        won += accepted * (below + rejected / 2)
        below += rejected
    return won / (positives * negatives)


def average_precision(scores: Sequence[float], labels: Sequence[int]) -> float:
    """Return the sum over thresholds of (recall gained) x (precision there), as scikit-learn defines it; NaN without positives."""
    positives = sum(map(bool, labels))
    if not positives:
        return math.nan
    kept = right = 0
    total = 0.0
    for accepted, rejected in _tied(scores, labels, descending=True):
        kept, right = kept + accepted + rejected, right + accepted
        total += accepted / positives * right / kept
    return total


def calibration_error(scores: Sequence[float], labels: Sequence[int], *, bins: int = BINS) -> float:
    """Return the expected calibration error: |mean score - share of accepted rows| of each bin, weighted by rows.

    Bins have equal width over [0, 1] (Guo et al., arXiv 1706.04599), applied to the score of acceptance. NaN without rows.
    """
    groups: dict[int, list[tuple[float, int]]] = {}
    for score, label in zip(scores, labels, strict=True):
        groups.setdefault(min(int(score * bins), bins - 1), []).append((score, int(bool(label))))
    gaps = [abs(sum(score for score, _ in group) - sum(label for _, label in group)) for group in groups.values()]
    return sum(gaps) / len(labels) if labels else math.nan


def threshold_table(
    scores: Sequence[float], labels: Sequence[int | None], *, thresholds: Sequence[float] = THRESHOLDS
) -> list[dict[str, float | None]]:
    """Return a line for each threshold: `threshold`, `kept` rows, `kept_share`, and `precision` and `recall` over labelled rows.

    Args:
        scores: of acceptance.
        labels: 1 accepted, 0 rejected, None where nobody has rated.
        thresholds: a row is kept where its score is at least this.

    Returns:
        Lines; precision and recall are None where they are not defined.
    """
    lines: list[dict[str, float | None]] = []
    positives = sum(label == 1 for label in labels)
    for threshold in thresholds:
        kept = [label for score, label in zip(scores, labels, strict=True) if score >= threshold]
        rated = [label for label in kept if label is not None]
        lines.append(
            {
                "threshold": threshold,
                "kept": len(kept),
                "kept_share": len(kept) / len(scores) if scores else None,
                "precision": sum(rated) / len(rated) if rated else None,
                "recall": sum(rated) / positives if positives else None,
            }
        )
    return lines


def summary(scores: Sequence[float], labels: Sequence[int]) -> dict[str, float]:
    """Return all four numbers by name; those that are not defined are left out."""
    found = {
        "accuracy": accuracy(scores, labels),
        "auroc": auroc(scores, labels),
        "average_precision": average_precision(scores, labels),
        "calibration_error": calibration_error(scores, labels),
    }
    return {name: value for name, value in found.items() if not math.isnan(value)}


def _tied(scores: Sequence[float], labels: Sequence[int], *, descending: bool) -> Iterator[tuple[int, int]]:
    """Yield accepted and rejected rows of each distinct score, in order."""
    ordered = sorted(zip(scores, labels, strict=True), key=lambda pair: pair[0], reverse=descending)
    for _, group in groupby(ordered, key=lambda pair: pair[0]):
        values = [bool(label) for _, label in group]
        yield sum(values), len(values) - sum(values)


def _mean(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else math.nan
