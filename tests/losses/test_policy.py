"""Policy losses by hand, by twin, by limit, and against TRL's own code."""

import math
from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from llamafactory_hind.losses.policy import (
    behavior_surrogate,
    clip_fractions,
    clipped_surrogate,
    group_advantages,
    k3_kl,
    shaped_surrogate,
)
from llamafactory_hind.losses.reduce import masked_mean


NAN = float("nan")
CLIPS = {"clip_low": 0.2, "clip_high": 0.3}


def texts(seed: int = 0, spread: float = 0.5) -> list[Tensor]:
    """Return log-probs (5, 7) of the policy, of the old policy, of a reference, and advantages (5,)."""
    generator = torch.Generator().manual_seed(seed)
    logps = -torch.rand(5, 7, generator=generator, dtype=torch.float64) * 3 - 0.05
    near = [logps + spread * torch.randn(5, 7, generator=generator, dtype=torch.float64) for _ in range(2)]
    return [logps, *near, torch.randn(5, generator=generator, dtype=torch.float64)]


def test_advantages_by_hand() -> None:
    """Rewards 0, 1, 2: mean 1, unbiased variance (1 + 0 + 1) / 2 = 1. Rewards 1, 1, 4: mean 2, variance (1 + 1 + 4) / 2 = 3."""
    rewards = torch.tensor([[0.0, 1.0, 2.0], [1.0, 1.0, 4.0]], dtype=torch.float64)
    root = math.sqrt(3)
    assert group_advantages(rewards, eps=0.0).tolist() == [
        pytest.approx([-1.0, 0.0, 1.0], abs=1e-12),
        pytest.approx([-1 / root, -1 / root, 2 / root], abs=1e-12),
    ]
    assert group_advantages(rewards)[1].tolist() == pytest.approx([x / (root + 1e-4) for x in (-1, -1, 2)], abs=1e-12)
    assert group_advantages(rewards, scale="none").tolist() == [[-1.0, 0.0, 1.0], [-1.0, -1.0, 2.0]]


def test_rewards_that_do_not_apply_count_in_nothing() -> None:
    """0, NaN, 2: mean 1, unbiased variance (1 + 1) / 1 = 2; one reward alone and none at all give 0."""
    rewards = torch.tensor([[0.0, NAN, 2.0], [NAN, 5.0, NAN], [NAN, NAN, NAN]], dtype=torch.float64)
    advantages = group_advantages(rewards, eps=0.5)
    one = 1 / (math.sqrt(2) + 0.5)
    assert advantages[0].tolist() == pytest.approx([-one, 0.0, one], abs=1e-12)
    assert advantages[1:].tolist() == [[0.0] * 3] * 2
    assert group_advantages(rewards, scale="none").tolist() == [[-1.0, 0.0, 1.0], [0.0] * 3, [0.0] * 3]


@pytest.mark.parametrize("scale", ["std", "none"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
def test_equal_rewards_give_exactly_no_gradient(scale: str, dtype: torch.dtype, size: int) -> None:
    """Also for 0.1 and 1 / 3, whose mean over 3 or 7 rounds to another number."""
    rewards = torch.tensor([[0.1] * size, [1 / 3] * size, [0.0] * size, [-2.7] * size], dtype=dtype)
    advantages = group_advantages(rewards, scale=scale)
    assert not advantages.any()
    logps = torch.full((4 * size, 3), -1.3, dtype=dtype, requires_grad=True)
    losses = clipped_surrogate(logps, torch.full_like(logps, -1.0), advantages.flatten(), **CLIPS)
    losses.sum().backward()
    assert not logps.grad.any()


@pytest.mark.parametrize("scale", ["std", "none"])
def test_advantages_twin(scale: str) -> None:
    """One group at a time in Python floats."""
    generator = torch.Generator().manual_seed(1)
    rewards = torch.randn(6, 5, generator=generator, dtype=torch.float64) * 3 + 10
    rewards[torch.rand(6, 5, generator=generator) < 0.3] = NAN
    found = group_advantages(rewards, scale=scale)
    for row, group in enumerate(rewards.tolist()):
        known = [reward for reward in group if not math.isnan(reward)]
        mean = sum(known) / len(known)
        spread = math.sqrt(sum((reward - mean) ** 2 for reward in known) / max(len(known) - 1, 1))
        divisor = spread + 1e-4 if scale == "std" else 1.0
        expected = [0.0 if math.isnan(reward) else (reward - mean) / divisor for reward in group]
        assert found[row].tolist() == pytest.approx(expected, abs=1e-9)


def test_advantages_have_no_gradient_and_are_wide() -> None:
    rewards = torch.tensor([[256.0, 257.0]], dtype=torch.bfloat16, requires_grad=True)
    advantages = group_advantages(rewards, scale="none")
    assert advantages.dtype == torch.float32
    assert not advantages.requires_grad


def test_surrogate_by_hand() -> None:
    """Ratios 1, 2, 2, 0.5, 0.5; advantages 3, 3, -3, 3, -3; clip to 0.8 .. 1.3.

    A > 0: min(3, 3), min(6, 3.9), min(1.5, 2.4); A < 0: min(-6, -3.9), min(-1.5, -2.4). The sign is turned. The gradient on
    log pi is -ratio A where the unclipped branch is taken, else 0.
    """
    ratios = torch.tensor([[1.0], [2.0], [2.0], [0.5], [0.5]], dtype=torch.float64)
    advantages = torch.tensor([3.0, 3.0, -3.0, 3.0, -3.0], dtype=torch.float64)
    logps = (ratios.log() - 1.0).requires_grad_()
    old = torch.full_like(logps, -1.0).requires_grad_()
    losses = clipped_surrogate(logps, old, advantages, **CLIPS)
    assert losses.flatten().tolist() == pytest.approx([-3.0, -3.9, 6.0, -1.5, 2.4], abs=1e-12)
    losses.sum().backward()
    assert logps.grad.flatten().tolist() == pytest.approx([-3.0, 0.0, 6.0, -1.5, 0.0], abs=1e-12)
    assert old.grad is None
    metrics = clip_fractions(logps, old, advantages, **CLIPS)
    assert {name: value.flatten().tolist() for name, value in metrics.items()} == {
        "ratio": pytest.approx([1.0, 2.0, 2.0, 0.5, 0.5], abs=1e-12),
        "clip/low": [0.0, 0.0, 0.0, 0.0, 1.0],
        "clip/high": [0.0, 1.0, 0.0, 0.0, 0.0],
        "clip/region": [0.0, 1.0, 0.0, 0.0, 1.0],
    }
    assert not any(value.requires_grad for value in metrics.values())


def test_surrogate_and_kl_twins() -> None:
    """One token at a time, value and gradient."""
    logps, old, reference, advantages = texts()
    leaf = logps.clone().requires_grad_()
    losses = clipped_surrogate(leaf, old, advantages, **CLIPS)
    kl = k3_kl(leaf, reference)
    (slopes,) = torch.autograd.grad(losses.sum(), leaf, retain_graph=True)
    (kl_slopes,) = torch.autograd.grad(kl.sum(), leaf)
    for row in range(5):
        advantage = advantages[row].item()
        for column in range(7):
            ratio = math.exp(logps[row, column].item() - old[row, column].item())
            clipped = min(max(ratio, 0.8), 1.3)
            is_plain = ratio * advantage <= clipped * advantage
            assert losses[row, column].item() == pytest.approx(-min(ratio * advantage, clipped * advantage), abs=1e-12)
            assert slopes[row, column].item() == pytest.approx(-ratio * advantage if is_plain else 0.0, abs=1e-12)
            other = reference[row, column].item() - logps[row, column].item()
            assert kl[row, column].item() == pytest.approx(math.exp(other) - other - 1, abs=1e-12)
            assert kl_slopes[row, column].item() == pytest.approx(1 - math.exp(other), abs=1e-12)


def test_on_the_policy_itself_the_gradient_is_the_advantage() -> None:
    """Ratio 1: loss -A, d loss / d log pi = -A, and k3 is 0 with slope 0."""
    logps, _, _, advantages = texts()
    leaf = logps.requires_grad_()
    losses = clipped_surrogate(leaf, leaf, advantages, clip_low=0.2, clip_high=0.2)
    torch.testing.assert_close(losses, -advantages[:, None].expand(5, 7))
    (slopes,) = torch.autograd.grad(losses.sum(), leaf)
    torch.testing.assert_close(slopes, -advantages[:, None].expand(5, 7))
    kl = k3_kl(leaf, leaf)
    assert not kl.any()
    assert not torch.autograd.grad(kl.sum(), leaf)[0].any()


def trl_loss(logps: Tensor, old: Tensor, reference: Tensor, advantages: Tensor, mask: Tensor, **options) -> Tensor:
    """Run the loss of TRL's GRPOTrainer, with the model's part handed in."""
    from trl import import_utils

    # TRL 0.24 takes for present what transformers 5 reports as (False, version), and then cannot be imported.
    for name, present in list(vars(import_utils).items()):
        if name.endswith("_available") and isinstance(present, tuple):
            setattr(import_utils, name, present[0])
    from trl import GRPOTrainer

    settings = {
        "top_entropy_quantile": 1.0,
        "importance_sampling_level": "token",
        "use_vllm": False,
        "current_gradient_accumulation_steps": 1,
        "max_completion_length": mask.shape[1],
        "epsilon_low": CLIPS["clip_low"],
        "epsilon_high": CLIPS["clip_high"],
        "args": SimpleNamespace(delta=None),
        "model": SimpleNamespace(training=True),
        "accelerator": SimpleNamespace(gather=lambda value: value, num_processes=1),
        "_metrics": {"train": defaultdict(list)},
        "_get_per_token_logps_and_entropies": lambda *_, **__: (logps, torch.zeros_like(logps)),
    }
    inputs = {
        "prompt_ids": torch.zeros(len(mask), 1, dtype=torch.long),
        "prompt_mask": torch.ones(len(mask), 1, dtype=torch.long),
        "completion_ids": torch.zeros_like(mask, dtype=torch.long),
        "completion_mask": mask,
        "old_per_token_logps": old,
        "ref_per_token_logps": reference,
        "advantages": advantages,
        "num_items_in_batch": mask.sum(),
    }
    return GRPOTrainer._compute_loss(SimpleNamespace(**settings | options), None, inputs)


@pytest.mark.parametrize(
    ("loss_type", "reduction"), [("grpo", "sequence"), ("dapo", "token"), ("dr_grpo", "constant")]
)
@pytest.mark.parametrize("beta", [0.0, 0.04])
def test_value_and_gradient_are_those_of_trl(loss_type: str, reduction: str, beta: float) -> None:
    logps, old, reference, advantages = texts(2)
    mask = torch.arange(7) < torch.tensor([7, 1, 4, 6, 2])[:, None]
    leaf = logps.clone().requires_grad_()
    losses = clipped_surrogate(leaf, old, advantages, **CLIPS) + beta * k3_kl(leaf, reference)
    loss = masked_mean(losses, mask, reduction=reduction)
    (slopes,) = torch.autograd.grad(loss, leaf)
    twin = logps.clone().requires_grad_()
    expected = trl_loss(twin, old, reference, advantages, mask.long(), loss_type=loss_type, beta=beta)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)
    torch.testing.assert_close(slopes, torch.autograd.grad(expected, twin)[0], rtol=0, atol=1e-12)
    assert slopes.any()


def test_shaped_gradient_by_hand() -> None:
    """Gamma 0.1. At pi = 0.1: f = 1/2, weight 0.1 * 0.1 / 0.04 = 1/4; at 0.4: f = 4/5, weight 0.04 / 0.25; A = 2 and -2."""
    logps = torch.tensor([[0.1, 0.4], [0.1, 0.4]], dtype=torch.float64).log().requires_grad_()
    losses = shaped_surrogate(logps, torch.tensor([2.0, -2.0], dtype=torch.float64), gamma=0.1)
    assert losses.flatten().tolist() == pytest.approx([-1.0, -1.6, 1.0, 1.6], abs=1e-12)
    losses.sum().backward()
    assert logps.grad.flatten().tolist() == pytest.approx([-0.5, -0.32, 0.5, 0.32], abs=1e-12)


@pytest.mark.parametrize("gamma", [0.01, 0.1, 1.0])
def test_shaped_gradient_weight(gamma: float) -> None:
    """d loss / d log pi = -A gamma pi / (pi + gamma)^2, over 12 decades of pi; no value is lost in float32."""
    probabilities = torch.logspace(-12, 0, 25, dtype=torch.float64)[None]
    logps = probabilities.log().float().requires_grad_()
    losses = shaped_surrogate(logps, torch.tensor([1.5]), gamma=gamma)
    losses.sum().backward()
    expected = -1.5 * gamma * probabilities / (probabilities + gamma) ** 2
    torch.testing.assert_close(logps.grad.double(), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(losses.double(), -1.5 * probabilities / (probabilities + gamma), rtol=1e-5, atol=0)


def test_shaped_gradient_is_largest_at_gamma() -> None:
    logps = torch.linspace(-8, -0.01, 2000, dtype=torch.float64)[None].requires_grad_()
    (slopes,) = torch.autograd.grad(shaped_surrogate(logps, torch.ones(1), gamma=0.1).sum(), logps)
    assert logps[0, slopes.argmin()].exp().item() == pytest.approx(0.1, rel=0.01)


def test_behavior_by_hand() -> None:
    """Two tokens with log pi -1 and -2, log q = -3 - 2 log 1.2: ratio exp(log 1.2) = 1.2, one for both tokens.

    A = 2: loss -2.4, slope -2.4 a token. The third token is outside of the mask and counts in no ratio. With clip_high 0.1 the
    loss is -2.2 and nothing has a gradient.
    """
    logps = torch.tensor([[-1.0, -2.0, -50.0]], dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[1, 1, 0]])
    behavior = torch.tensor([-3 - 2 * math.log(1.2)], dtype=torch.float64)
    advantages = torch.tensor([2.0], dtype=torch.float64)
    losses = behavior_surrogate(logps, mask, behavior, advantages, clip_low=0.2, clip_high=0.5)
    assert losses[0, :2].tolist() == pytest.approx([-2.4, -2.4], abs=1e-12)
    losses[0, :2].sum().backward()
    assert logps.grad[0].tolist() == pytest.approx([-2.4, -2.4, 0.0], abs=1e-12)
    logps.grad = None
    losses = behavior_surrogate(logps, mask, behavior, advantages, clip_low=0.2, clip_high=0.1)
    assert losses[0, :2].tolist() == pytest.approx([-2.2, -2.2], abs=1e-12)
    losses[0, :2].sum().backward()
    assert not logps.grad.any()


def test_behavior_of_one_token_is_the_clipped_surrogate() -> None:
    logps, old, _, advantages = texts()
    one, other = logps[:, :1].clone().requires_grad_(), logps[:, :1].clone().requires_grad_()
    whole = behavior_surrogate(one, torch.ones(5, 1), old[:, 0], advantages, **CLIPS)
    token = clipped_surrogate(other, old[:, :1], advantages, **CLIPS)
    torch.testing.assert_close(whole, token, rtol=0, atol=1e-12)
    whole.sum().backward()
    token.sum().backward()
    torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-12)


def test_enormous_ratios_leave_finite_gradients() -> None:
    """log pi - log pi_old = 2000: clipped with A > 0, so slope 0; exp alone would give inf * 0 = NaN."""
    logps = torch.tensor([[-1.0], [-1.0], [-2000.0]], requires_grad=True)
    old = torch.tensor([[-2001.0], [-1.0], [0.0]])
    losses = clipped_surrogate(logps, old, torch.tensor([1.0, 1.0, -1.0]), **CLIPS)
    assert losses.flatten().tolist() == pytest.approx([-1.3, -1.0, 0.8])
    losses.sum().backward()
    assert logps.grad.flatten().tolist() == [0.0, -1.0, 0.0]


def test_an_enormous_ratio_still_pushes_down() -> None:
    """Log ratio 90, A = -1: nothing is clipped, and beyond L = 30 the ratio is e^30 (1 + 90 - 30), its slope e^30."""
    old, advantages = torch.tensor([[-91.0]]), torch.tensor([-1.0])
    expected = math.exp(30) * 61
    for surrogate in (
        lambda logps: clipped_surrogate(logps, old, advantages, **CLIPS),
        lambda logps: behavior_surrogate(logps, torch.ones(1, 1), old[:, 0], advantages, **CLIPS),
    ):
        logps = torch.tensor([[-1.0]], requires_grad=True)
        losses = surrogate(logps)
        losses.sum().backward()
        assert losses.item() == pytest.approx(expected, rel=1e-5)
        assert logps.grad.item() == pytest.approx(math.exp(30), rel=1e-5)
    assert clip_fractions(logps, old, advantages, **CLIPS)["ratio"].item() == pytest.approx(expected, rel=1e-5)


def test_kl_does_not_overflow() -> None:
    """log pi = -95, log pi_ref = -2: d = 93; k3 = e^30 (1 + 93 - 30) - 93 - 1, its slope 1 - e^30, not inf."""
    logps = torch.tensor([[-95.0, -2.0, -2.0 - 1e-3]], requires_grad=True)
    values = k3_kl(logps, torch.tensor([[-2.0, -95.0, -2.0]]))
    values.sum().backward()
    expected = [math.exp(30) * 64 - 94, math.exp(-93) + 92, 5.0017e-7]  # d = 93, -93, 0.001
    assert values[0, :2].tolist() == pytest.approx(expected[:2], rel=1e-5)
    assert values[0, 2].item() == pytest.approx(expected[2], rel=1e-3, abs=2e-10)
    assert logps.grad[0].tolist() == pytest.approx([1 - math.exp(30), 1.0, -1.0005e-3], rel=1e-4)


@pytest.mark.parametrize("d", [0.5, 1.0 - 1e-9, 1.0, 1.0 + 1e-9, 5.0, 29.999])
def test_below_the_end_the_kl_is_the_formula(d: float) -> None:
    logps = torch.tensor([[-d]], dtype=torch.float64, requires_grad=True)
    value = k3_kl(logps, torch.zeros(1, 1, dtype=torch.float64))
    value.sum().backward()
    assert value.item() == pytest.approx(math.exp(d) - d - 1, rel=1e-12)
    assert logps.grad.item() == pytest.approx(1 - math.exp(d), rel=1e-12)


def test_bfloat16_is_widened() -> None:
    logps = torch.tensor([[-1.0, -1.0078125]], dtype=torch.bfloat16)
    for losses in (
        clipped_surrogate(logps, logps, torch.ones(1, dtype=torch.bfloat16), **CLIPS),
        shaped_surrogate(logps, torch.ones(1), gamma=0.1),
        k3_kl(logps, logps - 1),
    ):
        assert losses.dtype == torch.float32


def test_wrong_arguments_are_refused() -> None:
    logps = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"expected \(N, G\)"):
        group_advantages(torch.zeros(4))
    with pytest.raises(ValueError, match="'std' or 'none'"):
        group_advantages(torch.zeros(2, 2), scale="batch")
    with pytest.raises(ValueError, match=r"\(B, T\) and \(B,\)"):
        clipped_surrogate(logps, logps, torch.zeros(3), **CLIPS)
    with pytest.raises(ValueError, match="old_logps"):
        clipped_surrogate(logps, torch.zeros(1, 3), torch.zeros(2), **CLIPS)
    with pytest.raises(ValueError, match="expected one shape"):
        k3_kl(logps, torch.zeros(2, 1))
    with pytest.raises(ValueError, match="behavior_logps"):
        behavior_surrogate(logps, torch.ones(2, 3), torch.zeros(2, 3), torch.zeros(2), **CLIPS)
    with pytest.raises(ValueError, match="gamma: got 0"):
        shaped_surrogate(logps, torch.zeros(2), gamma=0.0)
