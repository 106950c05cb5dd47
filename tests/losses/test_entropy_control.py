"""The coefficient of the entropy bonus by hand."""

import pytest

from llamafactory_hind.losses.entropy_control import active_coefficient, adapted_coefficient


def test_it_moves_towards_the_target_by_hand() -> None:
    """Target 0.2, step 0.005 (Skywork-OR1's numbers): entropies 0.1, 0.1, 0.3, 0.2 from 0 give 0.005, 0.010, 0.005, 0.005."""
    coefficient, found = 0.0, []
    for entropy in (0.1, 0.1, 0.3, 0.2):
        coefficient = adapted_coefficient(coefficient, entropy, target=0.2, step=0.005)
        found.append(coefficient)
    assert found == pytest.approx([0.005, 0.010, 0.005, 0.005])


def test_it_does_not_fall_below_zero() -> None:
    assert adapted_coefficient(0.003, 9.0, target=0.2, step=0.005) == 0.0


def test_it_counts_only_where_the_entropy_is_low() -> None:
    assert active_coefficient(0.01, None, target=0.2) == 0.01, "before the first step"
    assert active_coefficient(0.01, 0.2, target=0.2) == 0.01
    assert active_coefficient(0.01, 0.21, target=0.2) == 0.0
