"""`linear_entropy` by hand, by its naive twin (values and gradients), by limit."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from llamafactory_hind.losses import head as head_module
from llamafactory_hind.losses.entropy import linear_entropy


NAMES = ("hidden", "weight", "bias", "down", "up")


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of at most 5 words, so that a vocabulary of 13 needs three, the last one narrower."""
    monkeypatch.setattr(head_module, "MIN_WORDS", 1)
    monkeypatch.setattr(head_module, "MAX_WORDS", 5)


def problem() -> dict[str, Tensor]:
    """Seven states of six numbers, 13 words, a bias, a LoRA of rank 2."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"hidden": (7, 6), "weight": (13, 6), "bias": (13,), "down": (2, 6), "up": (13, 2)}
    return {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}


def twin(tensors: dict[str, Tensor], *, bias: bool, lora: bool, temperature: float, softcap: float | None) -> Tensor:
    """The definition, from all logits."""
    logits = tensors["hidden"] @ tensors["weight"].T
    if lora:
        logits = logits + 1.7 * tensors["hidden"] @ tensors["down"].T @ tensors["up"].T
    if bias:
        logits = logits + tensors["bias"]
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    logps = torch.log_softmax(logits / temperature, dim=1)
    return -(logps.exp() * logps).sum(1)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize(
    ("bias", "lora", "temperature", "softcap"),
    itertools.product([False, True], [False, True], [1.0, 0.7], [None, 3.0]),
)
def test_values_and_gradients_are_those_of_the_twin(
    bias: bool, lora: bool, temperature: float, softcap: float | None
) -> None:
    upstream = torch.linspace(-1, 1, 7, dtype=torch.float64)
    found = {}
    for naive in (False, True):
        tensors = {name: tensor.clone().requires_grad_() for name, tensor in problem().items()}
        if naive:
            values = twin(tensors, bias=bias, lora=lora, temperature=temperature, softcap=softcap)
        else:
            values = linear_entropy(
                tensors["hidden"],
                tensors["weight"],
                bias=tensors["bias"] if bias else None,
                lora=(tensors["down"], tensors["up"], 1.7) if lora else None,
                temperature=temperature,
                softcap=softcap,
                chunk_tokens=3,
            )
        (values * upstream).sum().backward()
        found[naive] = [values, *(tensors[name].grad for name in NAMES)]
    for ours, naive in zip(found[False], found[True], strict=True):
        assert (ours is None) == (naive is None)
        if ours is not None:
            torch.testing.assert_close(ours, naive, atol=1e-12, rtol=1e-10)


def test_by_hand() -> None:
    """Two words of logits 0 and log 3 have p = 1/4, 3/4: H = log 4 - 3/4 log 3; equal logits of V words have log V."""
    weight = torch.tensor([[0.0], [math.log(3)]], dtype=torch.float64)
    hidden = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    values = linear_entropy(hidden, weight)
    assert values.tolist() == pytest.approx([math.log(4) - 0.75 * math.log(3), math.log(2)])


def test_a_frozen_head_and_masked_words() -> None:
    """Words whose bias is -inf have probability 0 and no part in values or gradients."""
    tensors = problem()
    bias = tensors["bias"].clone()
    bias[4] = -math.inf
    hidden = tensors["hidden"].clone().requires_grad_()
    values = linear_entropy(hidden, tensors["weight"], bias=bias)
    values.sum().backward()
    left = [word for word in range(13) if word != 4]
    other = tensors["hidden"].clone().requires_grad_()
    expected = linear_entropy(other, tensors["weight"][left], bias=bias[left])
    expected.sum().backward()
    torch.testing.assert_close(values, expected)
    torch.testing.assert_close(hidden.grad, other.grad)


def test_a_sure_distribution_has_none() -> None:
    values = linear_entropy(torch.ones(1, 1), torch.tensor([[200.0], [0.0], [-200.0]]))
    assert values.item() == pytest.approx(0, abs=1e-4)
    assert torch.isfinite(values).all()


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"expected \(N, H\) and \(V, H\)"):
        linear_entropy(torch.zeros(2, 3), torch.zeros(5, 4))
