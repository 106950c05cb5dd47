"""`metric: sherlock_comparison`: the comparison task of Sherlock (arXiv 2202.04800)."""

from collections.abc import Mapping
from typing import Any

from ..arguments import ScoreArguments
from ..sherlock import TIE_NOISE, sherlock_pairwise
from . import Scored, read_scores


SUMMARY = "Sherlock: candidates of a region ordered as each rater did, 2 (right pairs / pairs - 0.5), mean of the raters, -1..1"
SOURCE = "allenai/sherlock leaderboard_eval/score_comparison.py"
FIELDS = ("ratings",)
PREDICTED = ("scores",)
LOWEST = -1.0


def dropped(fields: Mapping[str, Any]) -> str | None:
    """Return why an instance does not count; here each does."""
    return None


def score(prediction: Mapping[str, Any], fields: Mapping[str, Any], arguments: ScoreArguments) -> Scored:
    """Score the candidates' scores against `ratings`, a list for each rater (two officially) with a value for each candidate.

    Raises:
        ValueError: the ratings are not lists of numbers of one length, or there is not one score for each candidate.
    """
    ratings = _ratings(fields["ratings"])
    scores = read_scores(prediction, "scores", len(ratings[0]))
    means = [sherlock_pairwise(scores, rating) for rating in ratings]
    same = any(len(set(rating)) == 1 for rating in ratings)
    tied = len(set(scores)) < len(scores)
    remark = (
        "a rater gave all candidates the same rating, scored 0"
        if same
        else "equal scores, ordered by the official noise"
    )
    return Scored(sum(means) / len(means), remark if same or tied else None)


def _ratings(value: Any) -> list[list[float]]:
    """Return the ratings as numbers; the official file writes some of them as text."""
    try:
        ratings = [[float(rating) for rating in rater] for rater in value]
    except (TypeError, ValueError):
        ratings = []
    lengths = {len(rating) for rating in ratings}
    if len(lengths) != 1 or not 1 <= lengths.pop() <= len(TIE_NOISE):
        expected = f"a list for each rater, with a number for each candidate, {len(TIE_NOISE)} at most"
        raise ValueError(f"ratings: got {value!r:.160}, expected {expected}.")
    return ratings
