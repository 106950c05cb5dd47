"""`linear_logprobs` by hand, by its naive twin (values and gradients), by limit, and by the memory it must not take."""

import itertools
import math
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from llamafactory_hind.losses import head as head_module
from llamafactory_hind.losses.logprobs import linear_logprobs
from shared.tensors import LargestTensor


NAMES = ("hidden", "weight", "bias", "down", "up")


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of at most 5 words, so that a vocabulary of 13 needs three, the last one narrower."""
    monkeypatch.setattr(head_module, "MIN_WORDS", 1)
    monkeypatch.setattr(head_module, "MAX_WORDS", 5)


def problem(*, length: int = 4, hidden: int = 6, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Two sequences, 13 words, a bias, a LoRA of rank 2; one position is not scored."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"hidden": (2, length, hidden), "weight": (13, hidden), "bias": (13,), "down": (2, hidden), "up": (13, 2)}
    tensors = {
        key: torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for key, shape in shapes.items()
    }
    tensors["targets"] = torch.randint(13, (2, length), generator=generator)
    if length > 1:
        tensors["targets"][0, 1] = -100
    tensors["upstream"] = torch.randn(2, length, generator=generator, dtype=torch.float64).to(dtype)
    return tensors


def twin(
    tensors: dict[str, Tensor], *, bias: bool, lora: bool, temperature: float = 1.0, softcap: float | None = None
) -> Tensor:
    """The definition, one position at a time, in the inputs' dtype."""
    rows = []
    for states, ids in zip(tensors["hidden"], tensors["targets"], strict=True):
        row = []
        for state, index in zip(states, ids.tolist(), strict=True):
            logits = tensors["weight"] @ state
            if lora:
                logits = logits + 1.7 * tensors["up"] @ (tensors["down"] @ state)
            if bias:
                logits = logits + tensors["bias"]
            if softcap is not None:
                logits = softcap * torch.tanh(logits / softcap)
            logps = torch.log_softmax(logits / temperature, dim=0)
            row.append(logps[index] if index != -100 else 0 * state.sum())
        rows.append(torch.stack(row))
    return torch.stack(rows)


def chunked(tensors: dict[str, Tensor], *, bias: bool, lora: bool, **settings: float | None) -> Tensor:
    return linear_logprobs(
        tensors["hidden"],
        tensors["weight"],
        tensors["targets"],
        bias=tensors["bias"] if bias else None,
        lora=(tensors["down"], tensors["up"], 1.7) if lora else None,
        **settings,
    )


def live(tensors: dict[str, Tensor], trained: tuple[str, ...], *, bias: bool, lora: bool) -> list[Tensor]:
    used = [name for name in trained if (bias or name != "bias") and (lora or name not in ("down", "up"))]
    return [tensors[name].requires_grad_() for name in used]


def test_by_hand() -> None:
    """Logits are (0, log 2, log 5): probabilities 1/8, 2/8, 5/8. d logp(1) / d logits = (-1/8, 3/4, -5/8).

    With hidden = 1 the gradient of the weight is the same, and that of hidden is 3/4 log 2 - 5/8 log 5.
    """
    hidden = torch.ones(1, 3, 1, dtype=torch.float64, requires_grad=True)
    weight = torch.tensor([[0.0], [math.log(2)], [math.log(5)]], dtype=torch.float64, requires_grad=True)
    logps = linear_logprobs(hidden, weight, torch.tensor([[0, 1, -100]]))
    assert logps.tolist()[0] == pytest.approx([math.log(1 / 8), math.log(2 / 8), 0.0], abs=1e-12)
    logps[0, 1].backward()
    assert weight.grad[:, 0].tolist() == pytest.approx([-1 / 8, 3 / 4, -5 / 8], abs=1e-12)
    assert hidden.grad[0, :, 0].tolist() == pytest.approx([0, 3 / 4 * math.log(2) - 5 / 8 * math.log(5), 0], abs=1e-12)


def test_temperature_by_hand() -> None:
    """Logits (0, log 4) at temperature 2 are (0, log 2): log p(0) = log 1/3."""
    weight = torch.tensor([[0.0], [math.log(4)]])
    logps = linear_logprobs(torch.ones(1, 1, 1), weight, torch.tensor([[0]]), temperature=2.0)
    assert logps.item() == pytest.approx(math.log(1 / 3), abs=1e-6)


def test_softcap_by_hand() -> None:
    """Cap 2 turns logits (0, 1000) into (0, 2): log p(0) = -log(1 + e^2)."""
    weight = torch.tensor([[0.0], [1000.0]])
    logps = linear_logprobs(torch.ones(1, 1, 1), weight, torch.tensor([[0]]), softcap=2.0)
    assert logps.item() == pytest.approx(-math.log(1 + math.exp(2)), abs=1e-6)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("trained", [NAMES, *((name,) for name in NAMES), ("hidden", "down"), ("hidden", "bias")])
@pytest.mark.parametrize(("bias", "lora"), itertools.product((False, True), repeat=2))
def test_equals_twin(trained: tuple[str, ...], bias: bool, lora: bool) -> None:
    """Values and gradients, with more rows than hidden and fewer (the kept tiles lie differently), all chunk sizes."""
    for length, temperature, softcap, chunk_tokens, keep_tiles in itertools.product(
        (1, 2, 5), (1.0, 0.7), (None, 3.0), (1, 3, 100), (True, False)
    ):
        tensors = problem(length=length)
        leaves = live(tensors, trained, bias=bias, lora=lora)
        if not leaves:
            return
        settings = {"temperature": temperature, "softcap": softcap}
        ours = chunked(tensors, bias=bias, lora=lora, chunk_tokens=chunk_tokens, keep_tiles=keep_tiles, **settings)
        theirs = twin(tensors, bias=bias, lora=lora, **settings)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
        ours_grads = torch.autograd.grad(ours, leaves, tensors["upstream"])
        theirs_grads = torch.autograd.grad(theirs, leaves, tensors["upstream"])
        for one, other in zip(ours_grads, theirs_grads, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("trained", [("hidden",), NAMES])
def test_gradcheck(trained: tuple[str, ...]) -> None:
    tensors = problem(length=3)
    leaves = live(tensors, trained, bias=True, lora=True)
    assert torch.autograd.gradcheck(
        lambda *_: chunked(tensors, bias=True, lora=True, temperature=0.9, softcap=5.0, chunk_tokens=2), leaves
    )


@pytest.mark.parametrize("trained", [("hidden",), ("hidden", "weight")])
def test_float32_with_a_larger_vocabulary(trained: tuple[str, ...]) -> None:
    """5,000 words are several tiles of the real size; float32 stays within 1e-5 of float64, large logits included."""
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(2, 30, 32, generator=generator)
    hidden[0] *= 20  # logits of some hundreds
    weight = torch.randn(5000, 32, generator=generator) / 32**0.5
    targets = torch.randint(5000, (2, 30), generator=generator)
    results = []
    for dtype, form in ((torch.float32, linear_logprobs), (torch.float64, full)):
        leaves = {"hidden": hidden.to(dtype), "weight": weight.to(dtype)}
        grads = [leaves[name].requires_grad_() for name in trained]
        logps = form(leaves["hidden"], leaves["weight"], targets)
        results.append([logps, *torch.autograd.grad(logps.mean(), grads)])
    assert results[0][0].dtype == torch.float32
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-6, atol=1e-5)


def full(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return (hidden @ weight.T).log_softmax(-1).gather(-1, targets[..., None])[..., 0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_inputs_on_a_cpu_are_computed_in_float32(dtype: torch.dtype) -> None:
    """The rounding of the inputs is all that is lost: the twin gets the rounded numbers in float64."""
    tensors = problem(dtype=dtype)
    leaves = live(tensors, ("hidden", "weight"), bias=True, lora=False)
    exact = {key: value.detach().double() if value.is_floating_point() else value for key, value in tensors.items()}
    exact_leaves = live(exact, ("hidden", "weight"), bias=True, lora=False)
    ours, theirs = chunked(tensors, bias=True, lora=False), twin(exact, bias=True, lora=False)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=1e-5)
    ours_grads = torch.autograd.grad(ours, leaves, tensors["upstream"].float())
    theirs_grads = torch.autograd.grad(theirs, exact_leaves, exact["upstream"])
    for one, other in zip(ours_grads, theirs_grads, strict=True):
        assert one.dtype == dtype
        torch.testing.assert_close(one.double(), other, rtol=torch.finfo(dtype).eps, atol=1e-4)


@pytest.mark.parametrize("trained", [("hidden",), NAMES])
def test_autocast_changes_nothing_on_a_cpu(trained: tuple[str, ...]) -> None:
    """The forward pass under autocast, the backward pass outside, as torch asks for."""
    results = []
    for enabled in (False, True):
        tensors = problem(dtype=torch.float32)
        leaves = live(tensors, trained, bias=True, lora=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            logps = chunked(tensors, bias=True, lora=True)
        results.append([logps, *torch.autograd.grad(logps, leaves, tensors["upstream"])])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_non_contiguous_inputs() -> None:
    tensors = problem()
    expected = chunked(tensors, bias=False, lora=False)
    strided = {
        "hidden": tensors["hidden"].transpose(0, 1).contiguous().transpose(0, 1),
        "weight": tensors["weight"].T.contiguous().T,
        "targets": tensors["targets"].T.contiguous().T,
    }
    assert not any(value.is_contiguous() for value in strided.values())
    leaves = [strided[name].requires_grad_() for name in ("hidden", "weight")]
    ours = linear_logprobs(**strided)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)
    plain_leaves = live(tensors, ("hidden", "weight"), bias=False, lora=False)
    theirs = torch.autograd.grad(chunked(tensors, bias=False, lora=False).sum(), plain_leaves)
    for one, other in zip(torch.autograd.grad(ours.sum(), leaves), theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("trained", [("hidden",), ("weight",), ("bias",), NAMES])
@pytest.mark.parametrize("length", [0, 3])
def test_nothing_to_score_is_zero_with_a_live_graph(trained: tuple[str, ...], length: int) -> None:
    tensors = problem(length=length)
    tensors["targets"].fill_(-100)
    leaves = live(tensors, trained, bias=True, lora=True)
    logps = chunked(tensors, bias=True, lora=True)
    assert logps.shape == (2, length)
    assert torch.equal(logps, torch.zeros_like(logps))
    for grad in torch.autograd.grad(logps.sum(), leaves):
        assert torch.equal(grad, torch.zeros_like(grad))


def test_positions_not_scored_may_hold_anything() -> None:
    """NaN states of padding reach neither value nor gradient."""
    tensors = problem()
    tensors["hidden"][0, 1] = float("nan")
    leaves = live(tensors, ("hidden", "weight"), bias=False, lora=False)
    logps = chunked(tensors, bias=False, lora=False)
    assert logps[0, 1].item() == 0.0
    grads = torch.autograd.grad(logps.sum(), leaves)
    assert all(grad.isfinite().all() for grad in (logps, *grads))
    assert torch.equal(grads[0][0, 1], torch.zeros(6, dtype=torch.float64))


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("trained", [("hidden",), ("hidden", "weight")])
def test_words_masked_by_a_bias_of_minus_infinity(trained: tuple[str, ...]) -> None:
    """A whole first tile of masked words gives neither NaN nor a share of the probability."""
    tensors = problem()
    tensors["bias"][:6] = -math.inf
    tensors["targets"].clamp_(min=6)
    leaves = live(tensors, trained, bias=True, lora=False)
    ours, theirs = chunked(tensors, bias=True, lora=False), twin(tensors, bias=True, lora=False)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    for one, other in zip(
        torch.autograd.grad(ours.sum(), leaves), torch.autograd.grad(theirs.sum(), leaves), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_two_backward_passes_agree() -> None:
    """The first consumes the kept tiles, the second recomputes them."""
    tensors = problem()
    leaves = live(tensors, NAMES, bias=True, lora=True)
    logps = chunked(tensors, bias=True, lora=True)
    first = [grad.clone() for grad in torch.autograd.grad(logps.sum(), leaves, retain_graph=True)]
    for one, other in zip(first, torch.autograd.grad(logps.sum(), leaves), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_a_tied_weight_accumulates() -> None:
    """The embedding of the input and the head are one tensor: both gradients arrive."""
    tensors = problem()
    weight = tensors["weight"].requires_grad_()
    ids = tensors["targets"].clamp(min=0)
    ours = linear_logprobs(weight[ids], weight, ids).sum()
    theirs = full(weight[ids], weight, ids).sum()
    torch.testing.assert_close(*(torch.autograd.grad(value, weight)[0] for value in (ours, theirs)))


def test_no_grad_keeps_no_graph() -> None:
    tensors = problem()
    live(tensors, NAMES, bias=True, lora=True)
    with torch.no_grad():
        assert not chunked(tensors, bias=True, lora=True).requires_grad
    assert not linear_logprobs(*(tensors[key].detach() for key in ("hidden", "weight", "targets"))).requires_grad


def test_second_derivative_is_refused() -> None:
    tensors = problem()
    (hidden,) = live(tensors, ("hidden",), bias=False, lora=False)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(chunked(tensors, bias=False, lora=False).sum(), hidden, create_graph=True)


@pytest.mark.parametrize(
    ("trained", "limit"), [((), 2**20), (("hidden",), 2**20), (("hidden", "weight"), 40_000 * 16)]
)
def test_no_tensor_of_the_size_of_the_logits(trained: tuple[str, ...], limit: int) -> None:
    """400 rows x 40,000 words are 16 million logits; a tile has 2^20 elements, the weight's gradient 640,000."""
    generator = torch.Generator().manual_seed(0)
    leaves = {
        "hidden": torch.randn(2, 200, 16, generator=generator),
        "weight": torch.randn(40_000, 16, generator=generator),
    }
    for name in trained:
        leaves[name].requires_grad_()
    targets = torch.randint(40_000, (2, 200), generator=generator)
    with LargestTensor() as seen:
        logps = linear_logprobs(**leaves, targets=targets)
        if trained:
            logps.sum().backward()
    assert 0 < seen.elements <= max(limit, 2**20)
    with LargestTensor() as seen:
        full(**leaves, targets=targets)
    assert seen.elements >= 400 * 40_000  # the recorder does see a (B, T, V) tensor


def test_rows_not_scored_cost_nothing() -> None:
    """1 of 200 positions is scored: no operation sees 200 rows of logits or a copy of the hidden states."""
    hidden = torch.randn(1, 200, 512, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(1000, 512, generator=torch.Generator().manual_seed(1))
    targets = torch.full((1, 200), -100)
    targets[0, 7] = 3
    with LargestTensor() as seen:
        logps = linear_logprobs(hidden, weight, targets)
    torch.testing.assert_close(logps[0, 7], full(hidden, weight, targets.clamp(min=0))[0, 7], rtol=0, atol=1e-4)
    assert seen.elements <= weight.numel()  # views of the weight


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": torch.tensor([[0, 13]])}, r"ids from 0 to 13.*13 words"),
        ({"targets": torch.tensor([[0, -1]])}, r"ids from -1 to 0.*-100"),
        ({"targets": torch.zeros(2, 2, dtype=torch.long)}, r"hidden \(1, 2, 4\).*targets \(2, 2\)"),
        ({"weight": torch.zeros(13, 5)}, r"weight \(13, 5\)"),
        ({"bias": torch.zeros(4)}, r"bias: got \(4,\), expected \(13,\)"),
        ({"lora": (torch.zeros(2, 4), torch.zeros(13, 3), 1.0)}, r"A \(2, 4\) and B \(13, 3\)"),
        ({"chunk_tokens": 0}, "chunk_tokens: got 0"),
        ({"temperature": 0.0}, r"temperature: got 0\.0"),
        ({"softcap": -1.0}, r"softcap: got -1\.0"),
    ],
)
def test_errors_say_what_was_given_and_expected(changes: dict, message: str) -> None:
    arguments = {"hidden": torch.zeros(1, 2, 4), "weight": torch.zeros(13, 4), "targets": torch.tensor([[0, 1]])}
    with pytest.raises(ValueError, match=message):
        linear_logprobs(**{**arguments, **changes})


def test_imports_without_the_host() -> None:
    """In a fresh process the room loads torch, but neither LLaMA-Factory nor transformers."""
    code = (
        "import sys; import llamafactory_hind.losses.logprobs, llamafactory_hind.losses.preference, "
        "llamafactory_hind.losses.reduce; assert 'torch' in sys.modules; "
        "print([name for name in ('llamafactory', 'transformers', 'trl', 'peft') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.strip() == "[]"
