"""The comparison score of Sherlock (arXiv 2202.04800), equal to allenai/sherlock `leaderboard_eval/score_comparison.py`.

Two people rated up to ten inferences about one region; a model's scores should order them as each of the two did.
"""

import math
from collections.abc import Sequence


# Added to the scores by the official code, to part equal ones: `numpy.random.seed(1); numpy.random.random(10) / 1e9`.
TIE_NOISE = tuple(
    number / 1e9
    for number in (
        0.417022004702574,
        0.7203244934421581,
        0.00011437481734488664,
        0.30233257263183977,
        0.14675589081711304,
        0.0923385947687978,
        0.1862602113776709,
        0.34556072704304774,
        0.39676747423066994,
        0.538816734003357,
    )
)


def sherlock_pairwise(predictions: Sequence[float], labels: Sequence[float]) -> float:
    """Return how far a model orders the candidates of one instance as one rater did: `2 (right pairs / pairs - 0.5)`.

    Only pairs to which the rater gave different ratings count. Equal predictions are ordered by a noise below 1e-9, the same for every
    instance, so equal scores earn what that order happens to be worth; scores nearer than 1e-9 may change places too.

    Args:
        predictions: one score for each candidate, higher is better.
        labels: the rater's value for each candidate, higher is better.

    Returns:
        -1..1; 0 where the rater gave all the same rating. The official score is the mean over both raters, then over instances, x 100.

    Raises:
        ValueError: the lengths differ, there are more than ten candidates, or a prediction is NaN.
    """
    scores, values = [float(score) for score in predictions], [float(label) for label in labels]
    if len(scores) != len(values):
        raise ValueError(f"predictions: got {len(scores)}, expected one for each of the {len(values)} labels.")
    if len(scores) > len(TIE_NOISE):
        raise ValueError(f"predictions: got {len(scores)}, expected {len(TIE_NOISE)} candidates at most.")
    if any(map(math.isnan, scores)):
        raise ValueError(f"predictions: got {scores}, expected numbers that have an order; NaN has none.")
    parted = [score + noise for score, noise in zip(scores, TIE_NOISE, strict=False)]
    pairs = [
        (values[first] < values[second]) == (parted[first] < parted[second])
        for first in range(len(values))
        for second in range(first + 1, len(values))
        if values[first] != values[second]
    ]
    return 2 * (sum(pairs) / len(pairs) - 0.5) if pairs else 0.0
