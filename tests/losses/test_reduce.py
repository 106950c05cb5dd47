"""`masked_mean` by hand, by twin, by limit."""

import math

import pytest
import torch

from llamafactory_hind.losses.reduce import masked_mean


REDUCTIONS = ("sequence", "token", "constant")


@pytest.mark.parametrize(
    ("reduction", "expected", "slopes"),
    [
        ("sequence", 4.0, [1 / 6, 1 / 2]),
        ("token", 3.0, [1 / 4, 1 / 4]),
        ("constant", 1.0, [1 / 12, 1 / 12]),
    ],
)
def test_by_hand(reduction: str, expected: float, slopes: list[float]) -> None:
    """Rows (1, 2, 3), (6) and none, padded to 4: 12 places.

    Sequence: (6/3 + 6/1) / 2 = 4, a slope of 1/3/2 in the first row and 1/2 in the second; the empty row is not counted.
    Token: 12/4 = 3. Constant: 12/12 = 1.
    """
    values = torch.tensor([[1.0, 2.0, 3.0, 9.0], [9.0, 6.0, 9.0, 9.0], [9.0] * 4], requires_grad=True)
    mask = torch.tensor([[1, 1, 1, 0], [0, 1, 0, 0], [0] * 4], dtype=torch.bool)
    result = masked_mean(values, mask, reduction=reduction)
    assert result.shape == ()
    assert result.item() == pytest.approx(expected, abs=1e-6)
    result.backward()
    rows = mask * torch.tensor([*slopes, 0.0])[:, None]
    torch.testing.assert_close(values.grad, rows)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_full_mask_is_the_plain_mean(reduction: str) -> None:
    values = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(masked_mean(values, torch.ones(3, 5), reduction=reduction), values.mean())


def test_twin() -> None:
    """Sequences as Python lists."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(6, 7, generator=generator, dtype=torch.float64)
    mask = torch.rand(6, 7, generator=generator) < 0.4
    mask[2] = False
    rows = [[v for v, m in zip(*pair, strict=True) if m] for pair in zip(values.tolist(), mask.tolist(), strict=True)]
    tokens = [value for row in rows for value in row]
    means = [sum(row) / len(row) for row in rows if row]
    expected = {
        "sequence": sum(means) / len(means),
        "token": sum(tokens) / len(tokens),
        "constant": sum(tokens) / 42,
    }
    for reduction in REDUCTIONS:
        assert masked_mean(values, mask, reduction=reduction).item() == pytest.approx(expected[reduction], abs=1e-12)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(2, 3), (2, 0), (0, 3)])
def test_empty_mask_is_zero_with_a_live_graph(reduction: str, shape: tuple[int, int]) -> None:
    values = torch.full(shape, 7.0, requires_grad=True)
    result = masked_mean(values, torch.zeros(shape, dtype=torch.bool), reduction=reduction)
    assert result.item() == 0.0
    result.backward()
    assert torch.equal(values.grad, torch.zeros(shape))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_what_is_masked_may_be_nan_or_infinite(reduction: str) -> None:
    values = torch.tensor([[2.0, math.nan, math.inf]], requires_grad=True)
    result = masked_mean(values, torch.tensor([[True, False, False]]), reduction=reduction)
    result.backward()
    assert result.item() == pytest.approx(2 / 3 if reduction == "constant" else 2)
    assert values.grad[0, 1:].tolist() == [0.0, 0.0]


def test_bfloat16_is_summed_in_float32() -> None:
    """1 + 512 times 2^-8: in bf16 the small terms would vanish beside 1."""
    values = torch.full((1, 513), 2**-8, dtype=torch.bfloat16)
    values[0, 0] = 1.0
    result = masked_mean(values, torch.ones(1, 513), reduction="token")
    assert result.dtype == torch.float32
    assert result.item() == pytest.approx(3 / 513, rel=1e-6)


def test_errors() -> None:
    with pytest.raises(ValueError, match="got 'mean', expected 'sequence', 'token' or 'constant'"):
        masked_mean(torch.zeros(1, 2), torch.ones(1, 2), reduction="mean")
    with pytest.raises(ValueError, match=r"values \(1, 2\), mask \(2, 1\)"):
        masked_mean(torch.zeros(1, 2), torch.ones(2, 1), reduction="token")
