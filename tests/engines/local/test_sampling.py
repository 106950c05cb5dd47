"""`engines.local.sampling`: truncation equals transformers' warpers, sampling follows the distribution, rows are independent."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import TopKLogitsWarper, TopPLogitsWarper

from llamafactory_hind.engines.interface import Completion, Sampling
from llamafactory_hind.engines.local import sampling
from llamafactory_hind.engines.local.sampling import TokenSampler, draw_uniforms, sample_inverse_cdf, truncate


def random_logits(rows: int = 5, vocabulary: int = 50) -> torch.Tensor:
    return 3 * torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("top_k", "top_p"), [(0, 1.0), (7, 1.0), (0, 0.8), (7, 0.8), (50, 0.01), (100, 0.999)])
def test_truncation_equals_the_library(top_k: int, top_p: float) -> None:
    logits = random_logits()
    expected = TopKLogitsWarper(top_k)(None, logits.clone()) if top_k else logits
    expected = TopPLogitsWarper(top_p)(None, expected) if top_p < 1 else expected
    torch.testing.assert_close(truncate(logits.clone(), top_k=top_k, top_p=top_p), expected)


def test_drawing_follows_the_distribution_exactly_on_a_grid() -> None:
    """With u at the middles of 1000 equal cells, a token of probability k/1000 is drawn k times."""
    probabilities = torch.tensor([0.0, 0.125, 0.5, 0.0, 0.25, 0.125, 0.0])
    uniforms = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    tokens = sample_inverse_cdf(probabilities.expand(1000, -1), uniforms)
    assert torch.bincount(tokens, minlength=7).tolist() == [0, 125, 500, 0, 250, 125, 0]


def test_the_ends_of_the_interval_draw_possible_tokens() -> None:
    probabilities = torch.tensor([[0.0, 0.5, 0.5, 0.0]] * 3)
    tokens = sample_inverse_cdf(probabilities, torch.tensor([0.0, 1.0 - 2**-53, 1.0], dtype=torch.float64))
    assert tokens.tolist()[0] == 1
    assert tokens.tolist()[1] == 2
    assert tokens.tolist()[2] in (1, 2)


class NoFloat64(TorchDispatchMode):
    """Fails where a float64 tensor is made: what a device that has none would do."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        found = out if isinstance(out, tuple | list) else (out,)
        assert all(not isinstance(one, torch.Tensor) or one.dtype != torch.float64 for one in found), func
        return out


def test_a_device_without_float64_is_asked_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apple's MPS has none; the CPU stands in for it here."""
    with pytest.raises(AssertionError), NoFloat64():
        sample_inverse_cdf(torch.full((1, 4), 0.25), torch.rand(1))
    monkeypatch.setattr(sampling, "NO_FLOAT64", {"cpu"})
    probabilities = random_logits(1000, 512).softmax(-1)
    uniforms = draw_uniforms(["a"], 1000, seed=1)
    picker = TokenSampler(temperatures=torch.ones(1), uniforms=uniforms, banned=[], top_k=0, top_p=1.0)
    assert picker.uniforms.dtype == torch.float32
    with NoFloat64():
        narrow = sample_inverse_cdf(probabilities, picker.uniforms[0])
        picker.sample(random_logits(1, 10), torch.tensor([0]), 0)
    monkeypatch.undo()
    assert (narrow == sample_inverse_cdf(probabilities, uniforms[0])).float().mean() > 0.99  # rounding moves few


def test_numbers_of_a_row_depend_on_its_key_and_the_seed_alone() -> None:
    together = draw_uniforms(["a", "b", "c"], 20, seed=3)
    torch.testing.assert_close(draw_uniforms(["b"], 20, seed=3)[0], together[1], rtol=0, atol=0)
    torch.testing.assert_close(draw_uniforms(["b"], 5, seed=3)[0], together[1, :5], rtol=0, atol=0)
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(draw_uniforms(["b"], 20, seed=4)[0], together[1])
    assert together.min() >= 0
    assert together.max() < 1


def test_picker_mixes_greedy_and_sampled_rows_and_gives_log_probs_of_the_model_itself() -> None:
    logits = random_logits(3, 10)
    best = int(logits[0].argmax())
    sampler = TokenSampler(
        temperatures=torch.tensor([0.0, 2.0, 0.5]),
        uniforms=torch.full((3, 1), 0.4, dtype=torch.float64),
        banned=[best],
        top_k=0,
        top_p=1.0,
    )
    tokens, logps = sampler.sample(logits, torch.arange(3), 0)
    allowed = logits.clone()
    allowed[:, best] = float("-inf")
    assert tokens[0] == allowed[0].argmax() != best
    for row, temperature in ((1, 2.0), (2, 0.5)):
        cumulative = (allowed[row] / temperature).softmax(-1).double().cumsum(-1)
        assert tokens[row] == int((cumulative <= 0.4).sum())
    # the banned token's probability is not handed to the others
    torch.testing.assert_close(logps, logits.log_softmax(-1).gather(-1, tokens[:, None])[:, 0])


def test_sampling_refuses_what_means_nothing() -> None:
    with pytest.raises(ValueError, match=r"n: got 0.*temperature: got -1.*top_p: got 0.*max_new_tokens: got 0"):
        Sampling(n=0, temperature=-1, top_p=0, top_k=0, max_new_tokens=0, seed=0)
    options = {"top_p": 1.0, "top_k": 0, "max_new_tokens": 1, "seed": 0}
    assert Sampling(n=2, temperature=0.7, greedy_first=True, **options).temperatures == [0.0, 0.7, 0.7]
    assert Sampling(n=0, temperature=0.7, greedy_first=True, **options).temperatures == [0.0]


def test_confidence_is_the_mean_log_probability() -> None:
    assert Completion("x", (1, 2, 3, 4), -2.0, "stop").confidence == -0.5
    assert Completion("x", (1,), 0.0, "stop").confidence == 0.0  # 0 is a value, not a missing one
    assert Completion("x", (1,), None, "stop").confidence is None
