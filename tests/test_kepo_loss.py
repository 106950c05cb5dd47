"""The pair loss of `stage: kepo`, by hand."""

import math

import pytest
import torch

from llamafactory_hind.stages.kepo import pair_loss
from llamafactory_hind.trainers.pairs.trainer import PairLogps


def logps(**changes: torch.Tensor) -> PairLogps:
    """One pair: the policy moved the chosen text by +2 and the rejected by -1 against the reference."""
    values = {
        "chosen": torch.tensor([-8.0]),
        "rejected": torch.tensor([-5.0]),
        "chosen_length": torch.tensor([4]),
        "rejected_length": torch.tensor([2]),
        "ref_chosen": torch.tensor([-10.0]),
        "ref_rejected": torch.tensor([-4.0]),
    }
    return PairLogps(**{**values, **changes})


OFF = {"gap_weight": False, "nll_weight": 0.0}


def test_sigmoid_loss_and_metrics_by_hand() -> None:
    """Margin = (-8 + 10) - (-5 + 4) = 3; loss = -log sigmoid(0.1 * 3); rewards 0.2 and -0.1."""
    losses, metrics = pair_loss(logps(), beta=0.1, loss="sigmoid", **OFF)
    assert losses.item() == pytest.approx(math.log(1 + math.exp(-0.3)), abs=1e-6)
    assert metrics["rewards/chosen"].item() == pytest.approx(0.2, abs=1e-6)
    assert metrics["rewards/rejected"].item() == pytest.approx(-0.1, abs=1e-6)
    assert metrics["rewards/margins"].item() == pytest.approx(0.3, abs=1e-6)
    assert metrics["rewards/accuracies"].item() == 1.0


def test_length_normalized_by_hand() -> None:
    """Margin = 2/4 - (-1)/2 = 1."""
    losses, _ = pair_loss(logps(), beta=0.5, loss="length_normalized", **OFF)
    assert losses.item() == pytest.approx(math.log(1 + math.exp(-0.5)), abs=1e-6)


def test_confidence_gaps_by_hand() -> None:
    """Reference: c(l) - c(w) = -4/2 + 10/4 = 0.5; policy: -5/2 + 8/4 = -0.5: the gap has turned."""
    _, metrics = pair_loss(logps(), beta=0.1, loss="sigmoid", **OFF)
    assert metrics["confidence/gap_before"].item() == pytest.approx(0.5)
    assert metrics["confidence/gap_now"].item() == pytest.approx(-0.5)


def test_gap_weight_and_nll_anchor_by_hand() -> None:
    """Weight sigmoid(0.5); anchor 0.3 times the mean NLL of the chosen text, 8/4 = 2."""
    plain, _ = pair_loss(logps(), beta=0.1, loss="sigmoid", **OFF)
    weighted, _ = pair_loss(logps(), beta=0.1, loss="sigmoid", gap_weight=True, nll_weight=0.0)
    assert weighted.item() == pytest.approx(plain.item() / (1 + math.exp(-0.5)), abs=1e-6)
    anchored, metrics = pair_loss(logps(), beta=0.1, loss="sigmoid", gap_weight=False, nll_weight=0.3)
    assert anchored.item() == pytest.approx(plain.item() + 0.6, abs=1e-6)
    assert metrics["nll/chosen"].item() == pytest.approx(2.0)


def test_policy_equal_to_reference_is_log_two() -> None:
    losses, metrics = pair_loss(
        logps(chosen=torch.tensor([-10.0]), rejected=torch.tensor([-4.0])), beta=0.7, loss="sigmoid", **OFF
    )
    assert losses.item() == pytest.approx(math.log(2), abs=1e-6)
    assert metrics["rewards/margins"].item() == 0.0
