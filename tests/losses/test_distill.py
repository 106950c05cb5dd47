"""Distillation losses by hand, by twin (values and gradients), by limit, against TRL's own code, and by the memory they must not take."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from llamafactory_hind.losses import head as head_module
from llamafactory_hind.losses.distill import generalized_jsd, linear_jsd, step_weights
from shared.tensors import LargestTensor


BETAS = [0.0, 0.3, 0.5, 1.0]
NAMES = ("hidden", "weight", "bias", "down", "up")
EXACT = {"rtol": 0, "atol": 1e-12}


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of at most 5 words, so that a vocabulary of 13 needs three, the last one narrower."""
    monkeypatch.setattr(head_module, "MIN_WORDS", 1)
    monkeypatch.setattr(head_module, "MAX_WORDS", 5)


def logits_of(*rows: list[float]) -> Tensor:
    """Return logits (1, rows, V) of given probabilities, shifted by a constant that the softmax removes."""
    return (torch.tensor([rows], dtype=torch.float64).log() + 3.0).requires_grad_()


def problem(
    *, length: int = 4, hidden: int = 6, words: int = 11, dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    """Two sequences; a student of 13 words with bias and LoRA of rank 2, a wider teacher of `words` words with a bias."""
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "hidden": (2, length, hidden),
        "weight": (13, hidden),
        "bias": (13,),
        "down": (2, hidden),
        "up": (13, 2),
        "teacher_hidden": (2, length, 9),
        "teacher_weight": (words, 9),
        "teacher_bias": (words,),
        "upstream": (2, length),
    }
    return {
        key: torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for key, shape in shapes.items()
    }


def chunked(
    tensors: dict[str, Tensor], *, lora: bool = True, softcap: float | None = None, own: float = 1.0, **settings
) -> Tensor:
    head = {"bias": tensors["bias"], "softcap": softcap, "temperature": own}
    if lora:
        head["lora"] = (tensors["down"], tensors["up"], 1.7)
    inputs = (tensors[name] for name in ("hidden", "weight", "teacher_hidden", "teacher_weight"))
    return linear_jsd(*inputs, student_head=head, teacher_head={"bias": tensors["teacher_bias"]}, **settings)


def twin(
    tensors: dict[str, Tensor],
    *,
    beta: float,
    lora: bool = True,
    softcap: float | None = None,
    own: float = 1.0,
    temperature: float = 1.0,
) -> Tensor:
    """The definition, one position and one distribution at a time."""
    words = min(len(tensors["weight"]), len(tensors["teacher_weight"]))
    rows = []
    for states, others in zip(tensors["hidden"], tensors["teacher_hidden"], strict=True):
        row = []
        for state, other in zip(states, others, strict=True):
            logits = tensors["weight"] @ state + tensors["bias"]
            if lora:
                logits = logits + 1.7 * tensors["up"] @ (tensors["down"] @ state)
            if softcap is not None:
                logits = softcap * torch.tanh(logits / softcap)
            student = torch.softmax(logits[:words] / own / temperature, 0)
            teacher = tensors["teacher_weight"] @ other + tensors["teacher_bias"]
            teacher = torch.softmax(teacher[:words] / temperature, 0).detach()
            row.append(divergence(student, teacher, beta))
        rows.append(torch.stack(row))
    return torch.stack(rows)


def divergence(student: Tensor, teacher: Tensor, beta: float) -> Tensor:
    """Of two vectors of probabilities above 0."""
    if beta == 0:
        return (teacher * (teacher / student).log()).sum()
    if beta == 1:
        return (student * (student / teacher).log()).sum()
    mixed = (1 - beta) * student + beta * teacher
    to_mixture = beta * (teacher * (teacher / mixed).log()).sum()
    return to_mixture + (1 - beta) * (student * (student / mixed).log()).sum()


def test_by_hand() -> None:
    """S = (1/2, 1/2), T = (3/4, 1/4).

    KL(T || S) = 3/4 log 3/2 + 1/4 log 1/2, with d / d logits = S - T = (-1/4, 1/4).
    KL(S || T) = 1/2 log 2/3 + 1/2 log 2, with slope p (log S/T - D): the logs are log 2/3 and log 2, their mean is D.
    beta 1/2: M = (5/8, 3/8): 1/2 (3/4 log 6/5 + 1/4 log 2/3) + 1/2 (1/2 log 4/5 + 1/2 log 4/3), slope 1/2 p (log S/M - mean).
    """
    log = math.log
    forward, reverse = 0.75 * log(1.5) + 0.25 * log(0.5), 0.5 * log(2 / 3) + 0.5 * log(2)
    mixed = 0.5 * (0.75 * log(6 / 5) + 0.25 * log(2 / 3)) + 0.5 * (0.5 * log(4 / 5) + 0.5 * log(4 / 3))
    reverse_slope = 0.5 * (log(2 / 3) - log(2)) / 2
    mixed_slope = 0.5 * 0.5 * (log(4 / 5) - log(4 / 3)) / 2
    cases = [(0.0, forward, -0.25), (1.0, reverse, reverse_slope), (0.5, mixed, mixed_slope)]
    for beta, value, slope in cases:
        student, teacher = logits_of([0.5, 0.5]), logits_of([0.75, 0.25])
        found = generalized_jsd(student, teacher, beta=beta)
        assert found.item() == pytest.approx(value, abs=1e-12)
        found.sum().backward()
        assert student.grad.flatten().tolist() == pytest.approx([slope, -slope], abs=1e-12)
        assert teacher.grad is None


def test_sides_of_the_mixture_by_hand() -> None:
    """beta 1/4, S = (1/2, 1/2), T = (9/10, 1/10): M = (3/4) S + (1/4) T = (6/10, 4/10)."""
    found = generalized_jsd(logits_of([0.5, 0.5]), logits_of([0.9, 0.1]), beta=0.25).item()
    teacher = 0.9 * math.log(1.5) + 0.1 * math.log(0.25)
    student = 0.5 * math.log(5 / 6) + 0.5 * math.log(5 / 4)
    assert found == pytest.approx(0.25 * teacher + 0.75 * student, abs=1e-12)


def test_temperature_by_hand() -> None:
    """At temperature 2 logits (0, log 9) give (1/4, 3/4), the student's (0, 0) stay (1/2, 1/2)."""
    student, teacher = torch.zeros(1, 1, 2), torch.tensor([[[0.0, math.log(9)]]])
    found = generalized_jsd(student, teacher, beta=0.0, temperature=2.0)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5), abs=1e-6)


def test_linear_by_hand() -> None:
    """Hidden 1 and a column of log-odds as weight: S = (1/2, 1/2), T = (1/4, 3/4); d KL(T || S) / d weight = S - T."""
    weight = torch.zeros(2, 1, dtype=torch.float64, requires_grad=True)
    teacher_weight = torch.tensor([[0.0], [math.log(3)]], dtype=torch.float64)
    ones = torch.ones(1, 1, 1, dtype=torch.float64)
    found = linear_jsd(ones, weight, ones, teacher_weight, beta=0.0)
    assert found.item() == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5), abs=1e-12)
    found.backward(torch.tensor([[4.0]], dtype=torch.float64))
    assert weight.grad.flatten().tolist() == pytest.approx([1.0, -1.0], abs=1e-12)


@pytest.mark.parametrize("beta", BETAS)
def test_generalized_equals_twin(beta: float) -> None:
    generator = torch.Generator().manual_seed(1)
    student, teacher = (4 * torch.randn(2, 3, 7, generator=generator, dtype=torch.float64) for _ in range(2))
    student.requires_grad_()
    upstream = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    ours = generalized_jsd(student, teacher, beta=beta, temperature=1.3)
    pairs = zip((student / 1.3).softmax(-1).flatten(0, 1), (teacher / 1.3).softmax(-1).flatten(0, 1), strict=True)
    theirs = torch.stack([divergence(*pair, beta) for pair in pairs]).view(2, 3)
    torch.testing.assert_close(ours, theirs, **EXACT)
    grads = [torch.autograd.grad(value, student, upstream)[0] for value in (ours, theirs)]
    torch.testing.assert_close(*grads, **EXACT)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("trained", [NAMES, *((name,) for name in NAMES), ("hidden", "weight"), ("hidden", "down")])
def test_linear_equals_twin(trained: tuple[str, ...], beta: float) -> None:
    """Values and gradients; more rows than hidden and fewer (the kept tiles lie differently), chunks that do not divide.

    Vocabularies of 13 words beside 11, 13 and 15: compared over those that both have.
    """
    for (length, words), (softcap, temperature, own), chunk_tokens, keep_tiles in itertools.product(
        ((1, 13), (2, 11), (5, 15)), ((None, 1.0, 1.0), (3.0, 0.7, 1.4)), (1, 3, 100), (True, False)
    ):
        tensors = problem(length=length, words=words)
        leaves = [tensors[name].requires_grad_() for name in trained]
        settings = {"beta": beta, "softcap": softcap, "temperature": temperature, "own": own}
        ours = chunked(tensors, chunk_tokens=chunk_tokens, keep_tiles=keep_tiles, **settings)
        theirs = twin(tensors, **settings)
        torch.testing.assert_close(ours, theirs, **EXACT)
        ours_grads = torch.autograd.grad(ours, leaves, tensors["upstream"])
        theirs_grads = torch.autograd.grad(theirs, leaves, tensors["upstream"])
        for one, other in zip(ours_grads, theirs_grads, strict=True):
            torch.testing.assert_close(one, other, **EXACT)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("beta", BETAS)
def test_a_capped_teacher_with_a_lora(beta: float) -> None:
    """The teacher's head may have all that the student's may: here the two change places."""
    tensors = problem(words=13)
    lora = (tensors["down"], tensors["up"], 1.7)
    options = {"bias": tensors["bias"], "lora": lora, "softcap": 2.0, "temperature": 1.5}
    student = (tensors["teacher_hidden"].requires_grad_(), tensors["teacher_weight"].requires_grad_())
    ours = linear_jsd(*student, tensors["hidden"], tensors["weight"], beta=beta, chunk_tokens=3, teacher_head=options)
    logits = tensors["hidden"] @ tensors["weight"].T + 1.7 * tensors["hidden"] @ tensors["down"].T @ tensors["up"].T
    logits = 2 * torch.tanh((logits + tensors["bias"]) / 2) / 1.5
    theirs = generalized_jsd(student[0] @ student[1].T, logits, beta=beta)
    torch.testing.assert_close(ours, theirs, **EXACT)
    grads = [torch.autograd.grad(value, student, tensors["upstream"]) for value in (ours, theirs)]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, **EXACT)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_large_float32_logits_stay_near_float64(beta: float) -> None:
    """5,000 words are several tiles of the real size; logits of some hundreds, so that ratios reach far beyond exp's range."""
    generator = torch.Generator().manual_seed(1)
    hidden, teacher_hidden = torch.randn(2, 20, 32, generator=generator), torch.randn(2, 20, 48, generator=generator)
    hidden[0] *= 20
    teacher_hidden[0] *= 30
    weight = torch.randn(5000, 32, generator=generator) / 32**0.5
    teacher_weight = torch.randn(5000, 48, generator=generator) / 48**0.5
    results = []
    for form, dtype in (("linear", torch.float32), ("plain", torch.float32), ("plain", torch.float64)):
        leaves = [hidden.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_()]
        teacher = [teacher_hidden.to(dtype), teacher_weight.to(dtype)]
        if form == "linear":
            values = linear_jsd(*leaves, *teacher, beta=beta, chunk_tokens=16)
        else:
            values = generalized_jsd(leaves[0] @ leaves[1].T, teacher[0] @ teacher[1].T, beta=beta)
        assert values.dtype == dtype
        results.append([values, *torch.autograd.grad(values.mean(), leaves)])
    for ours, plain, exact in zip(*results, strict=True):
        noise = (plain.double() - exact).abs().max()  # of float32 itself: KL(S || T) is some hundreds here
        assert (ours.double() - exact).abs().max() <= max(2 * noise, 1e-6)


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_models_give_exactly_nothing(beta: float, dtype: torch.dtype) -> None:
    """Divergence 0; slope exactly 0, but for beta 0 where p - q sum(q) is left: a rounding of the sum."""
    tensors = problem(dtype=dtype)
    hidden, weight = tensors["hidden"].requires_grad_(), tensors["weight"].requires_grad_()
    values = linear_jsd(hidden, weight, hidden.detach(), weight.detach(), beta=beta)
    assert torch.equal(values, torch.zeros_like(values))
    for grad in torch.autograd.grad(values.sum(), (hidden, weight)):
        assert grad.abs().max() <= (10 * torch.finfo(dtype).eps if beta == 0 else 0)
    logits = torch.randn(1, 3, 50, dtype=dtype, requires_grad=True)
    values = generalized_jsd(logits, logits.detach(), beta=beta)
    assert torch.equal(values, torch.zeros_like(values))
    assert torch.autograd.grad(values.sum(), logits)[0].abs().max() <= 10 * torch.finfo(dtype).eps


def test_towards_the_ends_the_divergence_is_beta_times_the_kl() -> None:
    """Not continuous at 0 and 1: the mixture's divergence goes to 0 there, as GKD defines it, the ends are the KLs themselves."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(1, 5, 9, generator=generator, dtype=torch.float64) for _ in range(2))
    tiny = 1e-7
    for near, end in ((tiny, 0.0), (1 - tiny, 1.0)):
        ratio = generalized_jsd(student, teacher, beta=near) / generalized_jsd(student, teacher, beta=end)
        torch.testing.assert_close(ratio / tiny, torch.ones_like(ratio), rtol=0, atol=1e-5)


@pytest.mark.parametrize("beta", BETAS)
def test_bounds(beta: float) -> None:
    """Never negative; with disjoint support the mixture's divergence is its largest, the entropy of (1 - beta, beta)."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (5 * torch.randn(4, 8, 20, generator=generator, dtype=torch.float64) for _ in range(2))
    assert (generalized_jsd(student, teacher, beta=beta) > 0).all()
    apart = generalized_jsd(torch.tensor([[[0.0, -1e4]]]), torch.tensor([[[-1e4, 0.0]]]), beta=beta).item()
    entropy = sum(-share * math.log(share) for share in (beta, 1 - beta) if share)
    assert apart == pytest.approx(entropy or 1e4, abs=1e-6)


@pytest.mark.parametrize("beta", BETAS)
def test_words_ruled_out_by_both(beta: float) -> None:
    """A logit of -inf in both is a word that does not exist: value and gradient are those without it."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(1, 3, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    gone = torch.full((1, 3, 2), -math.inf, dtype=torch.float64)
    small, large = student.clone().requires_grad_(), torch.cat([gone, student], -1).requires_grad_()
    ours = generalized_jsd(large, torch.cat([gone, teacher], -1), beta=beta)
    theirs = generalized_jsd(small, teacher, beta=beta)
    torch.testing.assert_close(ours, theirs, **EXACT)
    ours_grad = torch.autograd.grad(ours.sum(), large)[0]
    torch.testing.assert_close(ours_grad[..., 2:], torch.autograd.grad(theirs.sum(), small)[0], **EXACT)
    assert not ours_grad[..., :2].any()


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize(
    ("beta", "student_out", "teacher_out"),
    [
        (0.3, True, False),
        (0.3, False, True),
        (0.5, True, True),
        (0.0, False, True),
        (1.0, True, False),
        (0.0, True, True),
        (1.0, True, True),
    ],
)
def test_words_ruled_out_by_one(beta: float, student_out: bool, teacher_out: bool) -> None:
    """A bias of -inf on a whole first tile of words, where the divergence stays finite; a bias of -1e4 is as good as -inf."""
    results = []
    for out in (-math.inf, -1e4):
        tensors = problem(words=13)
        tensors["bias"][:6] = out if student_out else 0.0
        tensors["teacher_bias"][:6] = out if teacher_out else 0.0
        leaves = [tensors[name].requires_grad_() for name in ("hidden", "weight")]
        values = chunked(tensors, beta=beta)
        logits = (
            tensors["hidden"] @ tensors["weight"].T + 1.7 * tensors["hidden"] @ tensors["down"].T @ tensors["up"].T
        )
        teacher = tensors["teacher_hidden"] @ tensors["teacher_weight"].T + tensors["teacher_bias"]
        plain = generalized_jsd(logits + tensors["bias"], teacher, beta=beta)
        for one in (values, plain):
            results.append([one, *torch.autograd.grad(one.sum(), leaves)])
    for other in results[1:]:
        for one, another in zip(results[0], other, strict=True):
            assert one.isfinite().all()
            torch.testing.assert_close(one, another, **EXACT)


@pytest.mark.parametrize(("beta", "student_out"), [(0.0, True), (1.0, False)])
def test_an_infinite_divergence_is_infinite(beta: float, student_out: bool) -> None:
    """KL(T || S) where the student rules out a word of the teacher, and KL(S || T) the other way round."""
    tensors = problem(words=13)
    tensors["bias" if student_out else "teacher_bias"][4] = -math.inf
    assert torch.equal(chunked(tensors, beta=beta), torch.full((2, 4), math.inf, dtype=torch.float64))
    other = torch.tensor([[[0.0, 0.0]]]), torch.tensor([[[0.0, -math.inf]]])
    assert generalized_jsd(*(reversed(other) if student_out else other), beta=beta).item() == math.inf


def test_nan_is_not_hidden() -> None:
    tensors = problem()
    tensors["hidden"][0, 1] = math.nan
    for beta in BETAS:
        values = chunked(tensors, beta=beta)
        assert values.isnan().sum() == 1
        assert values[0, 1].isnan()
        assert generalized_jsd(tensors["hidden"], tensors["hidden"], beta=beta).isnan().sum() == 1


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_value_and_gradient_are_those_of_trl(beta: float, temperature: float) -> None:
    """`GKDTrainer` divides by the temperature as we do, and does not multiply by its square."""
    import llamafactory  # noqa: F401  mends trl's package check
    from trl import GKDTrainer

    generator = torch.Generator().manual_seed(3)
    student, teacher = (3 * torch.randn(2, 4, 30, generator=generator, dtype=torch.float64) for _ in range(2))
    student.requires_grad_()
    ours = generalized_jsd(student, teacher, beta=beta, temperature=temperature)
    theirs = GKDTrainer.generalized_jsd_loss(
        student, teacher, beta=beta, temperature=temperature, reduction="none"
    ).sum(-1)
    torch.testing.assert_close(ours, theirs, **EXACT)
    grads = [torch.autograd.grad(value.sum(), student)[0] for value in (ours, theirs)]
    torch.testing.assert_close(*grads, **EXACT)


@pytest.mark.parametrize("trained", [("hidden",), NAMES])
def test_low_precision_inputs_on_a_cpu_are_computed_in_float32(trained: tuple[str, ...]) -> None:
    """The rounding of the inputs is all that is lost, under autocast as well: the twin gets the rounded numbers in float64."""
    for enabled in (False, True):
        tensors = problem(dtype=torch.bfloat16)
        exact = {key: value.double() for key, value in tensors.items()}
        leaves, exact_leaves = ([each[name].requires_grad_() for name in trained] for each in (tensors, exact))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            ours = chunked(tensors, beta=0.5)
        theirs = twin(exact, beta=0.5)
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=1e-5)
        ours_grads = torch.autograd.grad(ours, leaves, tensors["upstream"].float())
        theirs_grads = torch.autograd.grad(theirs, exact_leaves, exact["upstream"])
        for one, other in zip(ours_grads, theirs_grads, strict=True):
            assert one.dtype == torch.bfloat16
            torch.testing.assert_close(one.double(), other, rtol=torch.finfo(torch.bfloat16).eps, atol=1e-4)


@pytest.mark.parametrize("trained", [("hidden",), ("weight",), NAMES])
def test_no_tokens_give_a_live_graph(trained: tuple[str, ...]) -> None:
    tensors = problem(length=0)
    leaves = [tensors[name].requires_grad_() for name in trained]
    values = chunked(tensors, beta=0.5)
    assert values.shape == (2, 0)
    for leaf, grad in zip(leaves, torch.autograd.grad(values.sum(), leaves), strict=True):
        assert torch.equal(grad, torch.zeros_like(leaf))


def test_the_teacher_is_a_constant_and_no_grad_keeps_no_graph() -> None:
    tensors = problem()
    for name in ("teacher_hidden", "teacher_weight", "teacher_bias"):
        tensors[name].requires_grad_()
    assert not chunked(tensors, beta=0.5).requires_grad
    tensors["hidden"].requires_grad_()
    chunked(tensors, beta=0.5).sum().backward()
    assert tensors["teacher_weight"].grad is None
    with torch.no_grad():
        assert not chunked(tensors, beta=0.5).requires_grad


def test_a_tied_weight_a_shared_teacher_and_two_backward_passes() -> None:
    """One tensor as embedding, head and (adapter off) teacher's head; the first backward pass consumes the kept tiles."""
    tensors = problem()
    weight, ids = tensors["weight"].requires_grad_(), torch.tensor([[3, 1, 4], [1, 5, 9]])
    teacher = tensors["hidden"][:, :3]
    ours = linear_jsd(weight[ids], weight, teacher, weight, beta=0.5).sum()
    theirs = generalized_jsd(weight[ids] @ weight.T, teacher @ weight.detach().T, beta=0.5).sum()
    first = torch.autograd.grad(ours, weight, retain_graph=True)[0].clone()
    for one in (first, torch.autograd.grad(ours, weight)[0]):
        torch.testing.assert_close(one, torch.autograd.grad(theirs, weight, retain_graph=True)[0], **EXACT)


def test_non_contiguous_inputs() -> None:
    tensors = problem(words=13)
    expected = chunked(tensors, beta=0.3)
    strided = {key: value.mT.contiguous().mT if value.dim() > 1 else value for key, value in tensors.items()}
    leaves = [[each[name].requires_grad_() for name in NAMES] for each in (tensors, strided)]
    ours = chunked(strided, beta=0.3)
    torch.testing.assert_close(ours, expected, **EXACT)
    grads = (
        torch.autograd.grad(chunked(each, beta=0.3).sum(), leaf)
        for each, leaf in zip((tensors, strided), leaves, strict=True)
    )
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, **EXACT)


def test_second_derivative_is_refused() -> None:
    tensors = problem()
    tensors["hidden"].requires_grad_()
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(chunked(tensors, beta=0.5).sum(), tensors["hidden"], create_graph=True)


@pytest.mark.parametrize("trained", [(), ("hidden",), ("hidden", "weight")])
def test_no_tensor_of_the_size_of_the_logits(trained: tuple[str, ...]) -> None:
    """300 rows x 16,000 words are 4.8 million logits; 50 rows of them 800,000, the weight's gradient 256,000."""
    generator = torch.Generator().manual_seed(0)
    hidden, teacher_hidden = torch.randn(2, 150, 16, generator=generator), torch.randn(2, 150, 24, generator=generator)
    weight, teacher_weight = torch.randn(16_000, 16, generator=generator), torch.randn(16_000, 24, generator=generator)
    leaves = {"hidden": hidden, "weight": weight}
    for name in trained:
        leaves[name].requires_grad_()
    with LargestTensor() as seen:
        values = linear_jsd(hidden, weight, teacher_hidden, teacher_weight, beta=0.5, chunk_tokens=50)
        if trained:
            values.sum().backward()
    assert 0 < seen.elements <= 50 * 16_000
    with LargestTensor() as seen:
        plain = generalized_jsd(hidden @ weight.T, teacher_hidden @ teacher_weight.T, beta=0.5)
    assert seen.elements >= 300 * 16_000  # the recorder does see a (B, T, V) tensor
    torch.testing.assert_close(values, plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher_hidden": torch.zeros(1, 3, 5)}, r"student_hidden \(1, 2, 4\), teacher_hidden \(1, 3, 5\)"),
        ({"student_weight": torch.zeros(13, 5)}, r"student_hidden \(1, 2, 4\), student_weight \(13, 5\)"),
        ({"teacher_weight": torch.zeros(13)}, r"teacher_weight \(13,\): expected \(B, T, H\) and \(V, H\)"),
        ({"student_head": {"bias": torch.zeros(4)}}, r"student_head bias \(4,\)"),
        ({"teacher_head": {"lora": (torch.zeros(2, 4), torch.zeros(12, 2), 1.0)}}, r"teacher_head lora A \(2, 4\)"),
        (
            {"teacher_head": {"weight": torch.zeros(13, 4)}},
            r"teacher_head: unknown keys \['weight'\].*bias, lora, softcap",
        ),
        ({"student_head": {"softcap": 0.0}}, r"student_head softcap: got 0\.0"),
        ({"student_head": {"temperature": -1.0}}, r"student_head temperature: got -1\.0"),
        ({"chunk_tokens": 0}, "chunk_tokens: got 0"),
        ({"temperature": 0.0}, r"temperature: got 0\.0"),
        ({"beta": 1.5}, r"beta: got 1\.5.*0 .*1"),
        ({"beta": math.nan}, "beta: got nan"),
    ],
)
def test_errors_say_what_was_given_and_expected(changes: dict, message: str) -> None:
    arguments = {
        "student_hidden": torch.zeros(1, 2, 4),
        "student_weight": torch.zeros(13, 4),
        "teacher_hidden": torch.zeros(1, 2, 5),
        "teacher_weight": torch.zeros(12, 5),
        "beta": 0.5,
    }
    with pytest.raises(ValueError, match=message):
        linear_jsd(**{**arguments, **changes})


def test_errors_of_generalized_jsd() -> None:
    logits = torch.zeros(1, 2, 4)
    with pytest.raises(ValueError, match=r"student_logits \(1, 2, 4\), teacher_logits \(1, 2, 5\)"):
        generalized_jsd(logits, torch.zeros(1, 2, 5), beta=0.5)
    with pytest.raises(ValueError, match=r"beta: got -0\.1"):
        generalized_jsd(logits, logits, beta=-0.1)
    with pytest.raises(ValueError, match="temperature: got 0"):
        generalized_jsd(logits, logits, beta=0.5, temperature=0)


def test_step_weights_by_hand() -> None:
    """eps 0.1, delta 0.2. Gaps 0.3 and 0.5 (d = 0.4); 0.9 (d = 0.9); 0 (d = 0): weights 1, 0.5 / 1.0, min(0.5 / 0.1, 1.2)."""
    student = torch.tensor([[-1.0, -2.0, -3.0, -1.0, math.nan]], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([[-1.3, -1.5, -2.1, -1.0, -1.0]], dtype=torch.float64)
    weights = step_weights(student, teacher, torch.tensor([[0, 0, 1, 2, -1]]), eps=0.1, delta=0.2)
    assert weights[0].tolist() == pytest.approx([1.0, 1.0, 0.5, 1.2, 0.0], abs=1e-12)
    assert not weights.requires_grad


def test_step_weights_twin() -> None:
    """One row at a time in Python floats; numbers are missing in some rows, and d_1 is then of the first step there is."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (-3 * torch.rand(6, 20, generator=generator, dtype=torch.float64) for _ in range(2))
    segments = torch.randint(-1, 5, (6, 20), generator=generator)
    segments[4][segments[4] == 0] = 3
    segments[5] = -1
    found = step_weights(student, teacher, segments, eps=1e-3, delta=0.2)
    for row in range(6):
        gaps: dict[int, list[float]] = {}
        for step, one, other in zip(*(each[row].tolist() for each in (segments, student, teacher)), strict=True):
            gaps.setdefault(step, []).append(abs(one - other))
        means = {step: sum(values) / len(values) for step, values in gaps.items() if step >= 0}
        first = means[min(means)] if means else 0.0
        weights = {step: min((first + 1e-3) / (mean + 1e-3), 1.2) for step, mean in means.items()} | {-1: 0.0}
        expected = [weights[step] for step in segments[row].tolist()]
        assert found[row].tolist() == pytest.approx(expected, abs=1e-12)


def test_step_weights_of_nothing_and_of_one_model() -> None:
    assert step_weights(*torch.zeros(2, 3, 0), torch.zeros(3, 0, dtype=torch.long), eps=1e-3, delta=0.2).shape == (
        3,
        0,
    )
    logps = -torch.rand(2, 4)
    weights = step_weights(logps, logps, torch.tensor([[0, 0, 1, 2], [0, 1, -1, -1]]), eps=1e-3, delta=0.2)
    assert weights.tolist() == [[1.0] * 4, [1.0, 1.0, 0.0, 0.0]]
    assert weights.dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"segments": torch.zeros(1, 3, dtype=torch.long)}, r"segments \(1, 3\): expected \(B, T\) three times"),
        ({"segments": torch.tensor([[-2, 0]])}, r"from -2, expected integers from -1"),
        ({"segments": torch.zeros(1, 2)}, r"got torch\.float32"),
        ({"eps": 0.0}, r"eps: got 0\.0"),
        ({"delta": -0.1}, r"delta: got -0\.1"),
    ],
)
def test_errors_of_step_weights(changes: dict, message: str) -> None:
    arguments = {"segments": torch.zeros(1, 2, dtype=torch.long), "eps": 1e-3, "delta": 0.2}
    with pytest.raises(ValueError, match=message):
        step_weights(torch.zeros(1, 2), torch.zeros(1, 2), **{**arguments, **changes})
