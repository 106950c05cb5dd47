"""The ranking score of VisualCOMET (arXiv 2004.10796), equal to jamespark3922/visual-comet `scripts/run_rank.py`.

A group is an image, an event and a relation. Its gold sentences are filled up with others to 50 candidates.
"""

import math
from collections.abc import Sequence


def ranking(losses: Sequence[float]) -> list[int]:
    """Return the indices of the candidates, the lowest loss first; of equal ones the first in the list comes first.

    The official code sorts `exp(loss)` in float32, which makes all losses above 88.7 equal; here they keep their order.
    """
    return sorted(range(len(losses)), key=lambda index: losses[index])


def acc_at_50(losses: Sequence[float], num_gold: int) -> float:
    """Return the share of gold sentences among the best `num_gold` candidates of one group, `Acc@50` averaged over groups.

    Equal losses favour gold, which comes first, as in the official code: a model that gives every candidate one loss
    scores 1. `ties_decide` tells where that mattered.

    Args:
        losses: one for each candidate, lower is better, the gold sentences first; 50 in the official setting.
        num_gold: number of gold sentences.

    Returns:
        0..1.

    Raises:
        ValueError: `num_gold` is not in 1..number of candidates, or a loss is NaN.
    """
    values = [float(loss) for loss in losses]
    if not 1 <= num_gold <= len(values):
        raise ValueError(f"num_gold: got {num_gold}, expected 1 to {len(values)}, the number of candidates.")
    if any(map(math.isnan, values)):
        raise ValueError("losses: got NaN, expected numbers that have an order.")
    return sum(index < num_gold for index in ranking(values)[:num_gold]) / num_gold


def ties_decide(losses: Sequence[float], num_gold: int) -> bool:
    """Say whether another order of equal losses would change the score of `acc_at_50`."""
    others_first = sorted(range(len(losses)), key=lambda index: (losses[index], -index))
    return sum(index < num_gold for index in others_first[:num_gold]) / num_gold != acc_at_50(losses, num_gold)
