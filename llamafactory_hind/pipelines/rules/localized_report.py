"""What a run of `pipeline: localized` made: kept and dropped triples, the sweep of thresholds, how varied the rows are."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...evaluation.binary import THRESHOLDS, summary, threshold_table
from ...formats.ratings import has_label, rating_problems, read_ratings
from .diversity import describe


def read_labels(path: Path) -> dict[str, int]:
    """Return id -> 1 accepted, 0 rejected, of a JSONL file of rated rows.

    Raises:
        ValueError: a line cannot be read; the message names it.
    """
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            entry = json.loads(line)
            row_id = str(entry["id"])
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{path}, line {number}: expected an object with `id` and `label`.") from None
        if has_label(entry):
            wrong = next(rating_problems(entry), None)
            if wrong is not None:
                raise ValueError(f"{path}, line {number}: {wrong}.")
            found[row_id] = int(read_ratings(entry).accepted)
    return found


def count_triples(
    judged: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], labels: Mapping[str, int], threshold: float
) -> dict[str, Any]:
    """Return the report.

    Args:
        judged: every triple that was written, with `id`, `reason` and `critic` (score of acceptance, None without a critic).
        rows: of the output.
        labels: id -> 1 or 0, of those that people have rated.
        threshold: of this run.
    """
    reasons = Counter(triple["reason"] for triple in judged)
    scored = [triple for triple in judged if triple["critic"] is not None]
    scores = [triple["critic"] for triple in scored]
    rated = [labels.get(triple["id"]) for triple in scored]
    pairs = [(score, label) for score, label in zip(scores, rated, strict=True) if label is not None]
    content: dict[str, Any] = {
        "triples": len(judged),
        "reasons": dict(reasons.most_common()),
        "kept": len(rows),
        "kept_share": len(rows) / len(judged) if judged else 0.0,
    }
    if scored:
        lines = threshold_table(scores, rated, thresholds=sorted({*THRESHOLDS, threshold}))
        content["sweep"] = {f"{line['threshold']:g}": line for line in lines}
    if pairs:
        content["against_labels"] = {"rated": len(pairs)} | summary(
            [s for s, _ in pairs], [label for _, label in pairs]
        )
    for part in ("question", "answer", "rationale"):
        content[part] = describe([row[part] for row in rows])
    return content
