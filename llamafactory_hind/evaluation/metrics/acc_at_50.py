"""`metric: acc_at_50`: Acc@50 of VisualCOMET (arXiv 2004.10796)."""

from collections.abc import Mapping
from typing import Any

from ..arguments import ScoreArguments
from ..visualcomet import acc_at_50, ranking, ties_decide
from . import Scored, read_index, read_scores, read_texts


SUMMARY = (
    "VisualCOMET: share of gold sentences among the best `num_gold` of the candidates, and whether the best is gold"
)
SOURCE = "jamespark3922/visual-comet scripts/run_rank.py"
FIELDS = ("choices", "num_gold")
PREDICTED = ("scores",)
PARTS = ("top_1",)
CANDIDATES = 50


def dropped(fields: Mapping[str, Any]) -> str | None:
    """Return why a group does not count; here each does."""
    return None


def score(prediction: Mapping[str, Any], fields: Mapping[str, Any], arguments: ScoreArguments) -> Scored:
    """Score the candidates' scores (higher is better, such as log-likelihoods) where the first `num_gold` candidates are gold.

    Raises:
        ValueError: there is not one score for each of `choices`, or `num_gold` is not in 1..their number.
    """
    count = len(read_texts(fields, "choices"))
    gold = read_index(fields, "num_gold", 1, count)
    losses = [-value for value in read_scores(prediction, "scores", count)]
    remark = None if count == CANDIDATES else f"not {CANDIDATES} candidates"
    if ties_decide(losses, gold):
        remark = "equal scores decide; gold wins them, as in the official code"
    return Scored(acc_at_50(losses, gold), remark, {"top_1": float(ranking(losses)[0] < gold)})
