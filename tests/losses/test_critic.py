"""The critic's loss against numbers worked out by hand, a naive loop, and what the official code's slip would give."""

import math

import pytest
import torch

from llamafactory_hind.losses.critic import critic_loss


WEIGHTS = {"qa_weight": 0.5, "rationale_weight": 0.25}


def test_one_row_by_hand() -> None:
    """Equal logits: CE = log 2. qa 0.5 against 1: 0.5 * 0.25 = 0.125. Rationale 1 against 3: 0.25 * 4 = 1."""
    values = [torch.tensor([number]) for number in (0.5, 1.0, 1.0, 1.0, 3.0)]
    (loss,) = critic_loss(torch.zeros(1, 2), *values, **WEIGHTS)
    assert loss.item() == pytest.approx(math.log(2) + 0.125 + 1.0)
    official = math.log(2) + 0.125 + 0.25 * (1.0 - 1.0) ** 2  # the slip: rationale against s_qa
    assert loss.item() != pytest.approx(official)


def test_equals_a_loop_with_its_gradients() -> None:
    torch.manual_seed(0)
    logits, qa, rationale = (torch.randn(6, *more, requires_grad=True) for more in ((2,), (), ()))
    accepted, s_qa, s_r = torch.tensor([1.0, 0, 1, 1, 0, 0]), torch.rand(6), torch.rand(6)
    s_qa[2] = s_r[4] = math.nan  # nobody has scored them
    naive = []
    for row in range(6):
        loss = -logits[row].log_softmax(0)[int(accepted[row])]
        if not math.isnan(s_qa[row]):
            loss = loss + 0.5 * (qa[row] - s_qa[row]) ** 2
        if not math.isnan(s_r[row]):
            loss = loss + 0.25 * (rationale[row] - s_r[row]) ** 2
        naive.append(loss)
    ours = critic_loss(logits, qa, rationale, accepted, s_qa, s_r, **WEIGHTS)
    torch.testing.assert_close(ours, torch.stack(naive))
    leaves = (logits, qa, rationale)
    for found, expected in zip(
        torch.autograd.grad(ours.sum(), leaves), torch.autograd.grad(sum(naive), leaves), strict=True
    ):
        torch.testing.assert_close(found, expected)


def test_1_is_accepted() -> None:
    """Polarity: a high second logit is right for an accepted row and wrong for a rejected one."""
    logits = torch.tensor([[0.0, 5.0], [0.0, 5.0]])
    nothing = torch.full((2,), math.nan)
    accepted, rejected = critic_loss(
        logits, torch.zeros(2), torch.zeros(2), torch.tensor([1.0, 0.0]), nothing, nothing, **WEIGHTS
    ).tolist()
    assert accepted < 0.01
    assert rejected > 4.9


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"accept_logits \(3,\)"):
        critic_loss(torch.zeros(3), *[torch.zeros(3)] * 5, **WEIGHTS)
