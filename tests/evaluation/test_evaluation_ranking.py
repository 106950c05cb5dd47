"""VCR, Sherlock and VisualCOMET: numbers by hand, the official rules as naive twins, their quirks."""

import itertools
import math
import random

import numpy as np
import pytest
import torch

from llamafactory_hind.evaluation import acc_at_50, sherlock_pairwise, vcr_accuracy
from llamafactory_hind.evaluation.sherlock import TIE_NOISE
from llamafactory_hind.evaluation.vcr import first_best
from llamafactory_hind.evaluation.visualcomet import ties_decide


# VCR


def test_vcr_by_hand() -> None:
    """Answers right in rows 0, 1, 2; rationales in 0 and 3; both in 0 alone: 3/4, 2/4, 1/4."""
    answers = [[9, 1, 1, 1], [0, 5, 1, 1], [-9, -5, -1, -2], [1, 0, 0, 0]]
    rationales = [[0, 0, 1, 0], [3, 2, 1, 0], [1, 2, 3, 4], [0, 7, 0, 0]]
    found = vcr_accuracy(answers, rationales, [0, 1, 2, 3], [2, 1, 0, 1])
    assert found == {"q2a": 0.75, "qa2r": 0.5, "q2ar": 0.25}


def test_vcr_agrees_with_numpys_argmax_ties_included() -> None:
    """Scores of one decimal tie often; the official code takes numpy's argmax, the lowest index."""
    draw = np.random.default_rng(0)
    answers, rationales = draw.random((400, 4)).round(1), draw.random((400, 4)).round(1)
    labels = draw.integers(0, 4, (2, 400))
    first, second = answers.argmax(1) == labels[0], rationales.argmax(1) == labels[1]
    found = vcr_accuracy(answers, rationales, labels[0], labels[1])
    assert (np.sort(answers, 1)[:, -1] == np.sort(answers, 1)[:, -2]).sum() > 20
    assert list(found.values()) == pytest.approx([first.mean(), second.mean(), (first & second).mean()], abs=1e-12)


def test_vcr_takes_tensors_and_nan_never_wins() -> None:
    """Numpy's argmax would choose NaN: index 0 here."""
    scores = torch.tensor([[math.nan, 0.5, 0.7, -math.inf]])
    assert vcr_accuracy(scores, scores, [2], [0]) == {"q2a": 1.0, "qa2r": 0.0, "q2ar": 0.0}
    assert first_best([math.nan] * 4) is None
    assert first_best([-math.inf, math.nan]) == 0
    nothing = [[math.nan] * 4]
    assert vcr_accuracy(nothing, nothing, [0], [0])["q2a"] == 0.0


@pytest.mark.parametrize(
    ("answers", "labels", "said"),
    [
        ([], [], "0, 0, 0, 0 rows"),
        ([[1, 2, 3, 4]], [0, 1], "1, 1, 2, 2 rows"),
        ([[1, 2, 3]], [0], "answer_scores, row 0: got 3 scores, expected 4"),
        ([[1, 2, 3, 4]], [4], "answer_labels, row 0: got 4"),
        ([[1, 2, 3, 4]], [-1], "got -1"),
    ],
)
def test_vcr_refuses_what_does_not_fit(answers: list, labels: list, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        vcr_accuracy(answers, answers, labels, labels)


# Sherlock


def official_pairwise(predictions: list[float], labels: list[float]) -> float:
    """The official rule with the official random numbers, as a loop over pairs."""
    noise = np.random.RandomState(1).random_sample(10) / 1e9
    parted = np.asarray(predictions, dtype=np.float64) + noise[: len(predictions)]
    right = total = 0
    for first, second in itertools.combinations(range(len(labels)), 2):
        if labels[first] != labels[second]:
            total += 1
            right += bool(labels[first] < labels[second]) == bool(parted[first] < parted[second])
    return (right / total - 0.5) * 2 if total else 0.0


def test_sherlock_by_hand() -> None:
    """Labels 1, 2, 2, 3: five pairs differ. Scores .1 .4 .3 .2 order (0,1) (0,2) (0,3) right, (1,3) (2,3) wrong: 2 (3/5 - 1/2)."""
    assert sherlock_pairwise([0.1, 0.4, 0.3, 0.2], [1, 2, 2, 3]) == pytest.approx(0.2, abs=1e-15)
    assert sherlock_pairwise([1, 2, 3], [1, 2, 3]) == 1.0
    assert sherlock_pairwise([3, 2, 1], [1, 2, 3]) == -1.0


def test_a_rater_who_tells_none_apart_gives_0() -> None:
    assert sherlock_pairwise([1, 2, 3], [2, 2, 2]) == 0.0
    assert sherlock_pairwise([], []) == 0.0


def test_equal_scores_are_told_apart_by_the_official_noise() -> None:
    """The noise is .417 .720 .000114: equal scores rank candidate 1 first, then 0, then 2. Labels 1 2 3: of the pairs only (0, 1) is right.

    A lead of 3e-10 is lost: .3 + .417 < .720.
    """
    assert pytest.approx(np.random.RandomState(1).random_sample(10) / 1e9, abs=0) == TIE_NOISE
    assert sherlock_pairwise([0, 0, 0], [1, 2, 3]) == pytest.approx(2 * (1 / 3 - 0.5))
    assert sherlock_pairwise([3e-10, 0], [2, 1]) == -1.0
    assert sherlock_pairwise([4e-10, 0], [2, 1]) == 1.0


def test_sherlock_agrees_with_a_loop_over_the_pairs() -> None:
    """1e9 swallows the noise: equal there stay equal, which counts as "not less"."""
    draw = random.Random(0)
    for _ in range(2000):
        count = draw.randint(1, 10)
        scores = [draw.choice([0.0, 0.5, draw.random(), 1e9, -1e9]) for _ in range(count)]
        labels = [float(draw.randint(0, 3)) for _ in range(count)]
        assert sherlock_pairwise(scores, labels) == pytest.approx(official_pairwise(scores, labels), abs=1e-12)


def test_sherlock_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="got 2, expected one for each of the 3 labels"):
        sherlock_pairwise([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="got 11, expected 10 candidates at most"):
        sherlock_pairwise(range(11), range(11))
    with pytest.raises(ValueError, match="NaN"):
        sherlock_pairwise([math.nan, 1], [1, 2])


# VisualCOMET


def test_acc_at_50_by_hand() -> None:
    """Gold are candidates 0, 1, 2 with losses 1, 5, 2; the three best are 0 (1), 3 (1.5), 2 (2): two of three are gold."""
    assert acc_at_50([1, 5, 2, 1.5, 9], 3) == pytest.approx(2 / 3)
    assert acc_at_50([5, 1, 1.5], 1) == 0.0
    assert acc_at_50([3.0], 1) == 1.0


def test_ties_favour_gold_and_are_told() -> None:
    """One loss for all scores 1, as in the official code; nothing is told where ties do not matter."""
    assert acc_at_50([2.0] * 50, 3) == 1.0
    assert ties_decide([2.0] * 50, 3)
    assert ties_decide([1, 2, 2, 3], 2)
    assert not ties_decide([1, 1, 2, 2], 2)
    assert not ties_decide([1, 2, 3, 4], 2)


def test_acc_at_50_agrees_with_a_stable_sort_of_perplexities() -> None:
    draw = random.Random(0)
    for _ in range(500):
        losses, gold = [draw.choice([draw.random(), 0.25, 0.5]) for _ in range(50)], draw.randint(1, 6)
        best = torch.sort(torch.tensor(losses, dtype=torch.float64).exp(), stable=True).indices[:gold]
        assert acc_at_50(losses, gold) == pytest.approx((best < gold).double().mean().item(), abs=1e-12)


def test_large_losses_keep_their_order() -> None:
    """exp(100) is infinite in float32, where gold would win the tie: 1; the truth is that it is worse."""
    assert torch.tensor(100.0).exp() == torch.tensor(90.0).exp()
    assert acc_at_50([100.0, 90.0], 1) == 0.0
    assert acc_at_50([1.0, math.inf], 1) == 1.0


@pytest.mark.parametrize(("losses", "gold"), [([1, 2], 0), ([1, 2], 3), ([1, math.nan], 1), ([], 1)])
def test_acc_at_50_refuses_what_does_not_fit(losses: list, gold: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        acc_at_50(losses, gold)
