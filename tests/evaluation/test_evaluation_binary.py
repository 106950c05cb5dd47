"""Numbers of a critic by hand, and against counting all pairs."""

import math
import random

import pytest

from llamafactory_hind.evaluation.binary import (
    accuracy,
    auroc,
    average_precision,
    calibration_error,
    summary,
    threshold_table,
)


SCORES, LABELS = [0.9, 0.8, 0.7, 0.3], [1, 0, 1, 0]


def test_by_hand() -> None:
    """Right at 0.5: 0.9, 0.7 and 0.3. Pairs won: (0.9, 0.8), (0.9, 0.3), (0.7, 0.3) of 4. Precision at the two hits: 1, 2/3."""
    assert accuracy(SCORES, LABELS) == 0.75
    assert auroc(SCORES, LABELS) == 0.75
    assert average_precision(SCORES, LABELS) == pytest.approx((1 + 2 / 3) / 2)


def test_calibration_by_hand() -> None:
    """Two bins: [0.3] with no hit, gap 0.3; [0.7, 0.8, 0.9] with two hits, gap |0.8 - 2/3|: weighted 1/4 and 3/4."""
    assert calibration_error(SCORES, LABELS, bins=2) == pytest.approx(0.3 / 4 + abs(0.8 - 2 / 3) * 3 / 4)
    assert calibration_error([1.0, 0.0], [1, 0]) == 0.0  # the last bin holds 1.0


def test_ties_count_half() -> None:
    assert auroc([0.5, 0.5], [1, 0]) == 0.5
    assert average_precision([0.5, 0.5], [1, 0]) == 0.5


def test_equals_counting_all_pairs() -> None:
    chance = random.Random(1)
    scores = [chance.randint(0, 9) / 10 for _ in range(60)]
    labels = [chance.randint(0, 1) for _ in range(60)]
    pairs = [
        (a, b) for a, x in zip(scores, labels, strict=True) if x for b, y in zip(scores, labels, strict=True) if not y
    ]
    expected = sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs)
    assert auroc(scores, labels) == pytest.approx(expected)


def test_table_of_thresholds() -> None:
    low, high = threshold_table([0.9, 0.8, 0.7, 0.3], [1, 0, 1, None], thresholds=(0.2, 0.75))
    assert low == {"threshold": 0.2, "kept": 4, "kept_share": 1.0, "precision": 2 / 3, "recall": 1.0}
    assert high == {"threshold": 0.75, "kept": 2, "kept_share": 0.5, "precision": 0.5, "recall": 0.5}
    (nothing,) = threshold_table([0.1], [0], thresholds=(0.5,))
    assert (nothing["precision"], nothing["recall"]) == (None, None)


def test_what_is_not_defined_is_left_out() -> None:
    assert math.isnan(auroc([0.5], [1]))
    assert set(summary([0.5], [1])) == {"accuracy", "average_precision", "calibration_error"}
    assert summary([], []) == {}
