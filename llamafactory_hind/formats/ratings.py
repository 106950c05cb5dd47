"""What raters said of a row: accepted or not, by majority, and scores of the answer and of the rationale."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..config.problem import RowProblem, show


VOTES = {"accept": 1, "accepted": 1, "reject": 0, "rejected": 0}  # LSKD's words, and their participles
EXPECTED = "`accept` or `reject`, true or false, a share from 0 to 1, or a list of these, one a rater"
REMEDY = "write what the raters said, 1 for accepted"


@dataclass(frozen=True)
class Ratings:
    """Labels of a critic.

    Attributes:
        accepted: whether more than half of the raters accept.
        qa_score: of question and answer, NaN where there is none.
        rationale_score: of the rationale, likewise.
    """

    accepted: bool
    qa_score: float
    rationale_score: float


def rating_problems(fields: Mapping[str, Any]) -> Iterator[RowProblem]:
    """Yield what is wrong with the fields `label`, `reject_label`, `qa_score` and `r_score` of a row."""
    label, rejected = fields.get("label"), fields.get("reject_label")
    if label is None and rejected is None:
        yield RowProblem("label", show(label), EXPECTED, REMEDY)
    for name, value in (("label", label), ("reject_label", rejected)):
        if value is not None and _share(value) is None:
            yield RowProblem(name, show(value), EXPECTED, REMEDY)
    shares = _share(label), _share(rejected)
    if None not in shares and (shares[0] > 0.5) == (shares[1] >= 0.5):  # type: ignore[operator]
        expected = "the opposite of `label`"
        yield RowProblem("reject_label", show(rejected), expected, "its 1 is a rejection; remove one of the two")
    for name in ("qa_score", "r_score"):
        if fields.get(name) is not None and _mean(fields[name]) is None:
            expected = "a finite number, or a list of them, one a rater"
            yield RowProblem(name, show(fields[name]), expected, "write it, or null where nobody has rated")


def read_ratings(fields: Mapping[str, Any]) -> Ratings:
    """Return the labels of a row that has passed `rating_problems`.

    1 always means accepted. (The official code has a path, `label.count("accept") < 2`, whose 1 means rejected.)
    A tie is no majority: the row is not accepted.
    """
    share = _share(fields.get("label"))
    if share is None:
        share = 1.0 - (_share(fields["reject_label"]) or 0.0)
    scores = [_mean(fields.get(name)) for name in ("qa_score", "r_score")]
    qa_score, rationale_score = (math.nan if score is None else score for score in scores)
    return Ratings(share > 0.5, qa_score, rationale_score)


def has_label(fields: Mapping[str, Any]) -> bool:
    """Say whether somebody has rated a row, rightly or wrongly."""
    return fields.get("label") is not None or fields.get("reject_label") is not None


def _share(value: Any) -> float | None:
    """Return the share of raters that say yes, None where that cannot be read."""
    if isinstance(value, list):
        votes = [_vote(entry) for entry in value]
        known = [vote for vote in votes if vote is not None]
        return sum(known) / len(known) if known and len(known) == len(votes) else None
    return _vote(value)


def _vote(value: Any) -> float | None:
    if isinstance(value, str):
        return VOTES.get(value.strip().lower())
    if isinstance(value, (bool, int, float)) and 0 <= value <= 1:
        return float(value)
    return None


def _mean(value: Any) -> float | None:
    values = value if isinstance(value, list) else [value]
    if not values or any(isinstance(one, bool) or not isinstance(one, (int, float)) for one in values):
        return None
    mean = math.fsum(values) / len(values)
    return mean if math.isfinite(mean) else None
