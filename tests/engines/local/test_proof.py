"""When two ways to compute log-probs count as one, by hand."""

import pytest
import torch

from llamafactory_hind.engines.local.proof import (
    Difference,
    disagreement,
    lengthened,
    limit_of,
    nudged,
    rounded_otherwise,
    why_not_equal,
)


NONE = Difference(0.0, 0.0)


def off(plain: torch.Tensor, *errors: float) -> torch.Tensor:
    found = plain.clone()
    found[: len(errors)] += torch.tensor(errors)
    return found


def test_limits_are_three_times_the_noise_between_a_floor_and_a_cap() -> None:
    """Half: floors 2^-9 and 2^-6, caps 0.05 and 1; float32: floors 1e-4, caps 1e-3."""
    assert limit_of(Difference(0.004, 0.02), half=True) == Difference(3 * 0.004, 3 * 0.02)
    assert limit_of(NONE, half=True) == Difference(2**-9, 2**-6)
    assert limit_of(Difference(9.0, 9.0), half=True) == Difference(0.05, 1.0)
    assert limit_of(NONE, half=False) == Difference(1e-4, 1e-4)
    assert limit_of(Difference(1.0, 1.0), half=False) == Difference(1e-3, 1e-3)


def test_a_few_tokens_that_are_far_off_are_not_hidden_by_the_average() -> None:
    """A window that is missed: 0.265 at one token of 100, noise 0.004 a token and 0.02 at most; the average is 0.00265."""
    plain = torch.linspace(-9, -1, 100)
    noise = Difference(0.004, 0.02)
    assert disagreement(off(plain, 0.05), plain, noise, half=True) is None
    assert "by up to 2.65e-01, 2.65e-03 on average" in disagreement(off(plain, 0.265), plain, noise, half=True)
    assert disagreement(plain + 0.013, plain, noise, half=True) is not None  # everywhere a little: the average tells
    assert disagreement(off(plain, float("nan")), plain, noise, half=True) is not None


def test_noise_of_nothing_known_is_no_excuse() -> None:
    """A noise of NaN, or none, leaves the floor."""
    plain = torch.zeros(4)
    unknown = Difference(float("nan"), float("nan"))
    assert disagreement(off(plain, 5e-4), plain, unknown, half=False) is not None
    assert disagreement(off(plain, 5e-5), plain, unknown, half=False) is None


def test_a_refusal_is_a_reason_and_no_memory_is_none() -> None:
    def refuse() -> torch.Tensor:
        raise TypeError("no mask here")

    def starve() -> torch.Tensor:
        raise torch.OutOfMemoryError("full")

    assert why_not_equal(refuse, torch.zeros(1), NONE, half=False) == "TypeError: no mask here"
    with pytest.raises(torch.OutOfMemoryError):
        why_not_equal(starve, torch.zeros(1), NONE, half=False)


def test_rounding_otherwise_moves_by_less_than_two_steps_of_the_precision() -> None:
    logits = torch.linspace(-30, 30, 601).bfloat16()
    moved = (rounded_otherwise(logits) - logits.float()).abs()
    assert 0 < moved.max() <= 30 * 2**-8
    single = torch.linspace(-30, 30, 601)
    assert rounded_otherwise(single) is single


def test_lengthened_goes_on_with_the_same_ids() -> None:
    assert lengthened([1, 2]) == [1, 2] * 7 + [1]


@pytest.mark.parametrize(("half", "dtype"), [(True, torch.bfloat16), (True, torch.float32), (False, torch.float32)])
def test_a_nudge_is_about_one_step_and_ends_with_the_block(half: bool, dtype: torch.dtype) -> None:
    embeddings = torch.nn.Embedding(50, 8).to(dtype)
    before = embeddings(torch.arange(50)).float()
    with nudged(embeddings, half=half):
        inside = embeddings(torch.arange(50))
    assert inside.dtype == dtype
    step = 2**-8 if half else 2**-23
    assert 0.5 * step < ((inside.float() - before) / before).abs().max() <= 2.1 * step
    assert torch.equal(embeddings(torch.arange(50)).float(), before)
