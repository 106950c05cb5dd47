"""Distillation from a teacher's whole distribution, the generalised Jensen-Shannon divergence of GKD (arXiv 2306.13649, eq. 1).

From logits, or from hidden states and output heads without a (B, T, V) tensor of either model; and SOD's step weights (2605.07725).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .distill_tiles import LARGEST_LOG_RATIO, LinearJSD, forward_tiles
from .head import Head, product_dtype
from .reduce import wide_dtype


# Rows whose logits exist at one time, all words of both models: 2 x 148 MiB at 151,936 words. Below, the weights are read too often.
CHUNK_TOKENS = 256
HEAD_KEYS = ("bias", "lora", "softcap", "temperature")


def generalized_jsd(
    student_logits: Tensor, teacher_logits: Tensor, *, beta: float, temperature: float = 1.0
) -> Tensor:
    """Divergence of a student's distribution from its teacher's at each position (GKD, arXiv 2306.13649, eq. 1).

    beta 0: KL(T || S). beta 1: KL(S || T). Between: beta KL(T || M) + (1 - beta) KL(S || M) with M = (1 - beta) S + beta T.
    Not continuous at the ends: towards them the mixture's divergence goes to 0 as beta KL(T || S) and (1 - beta) KL(S || T).

    Args:
        student_logits: (B, T, V).
        teacher_logits: (B, T, V) over the same words; a constant, no gradient flows into it.
        beta: from 0 to 1.
        temperature: divides both logits.

    Returns:
        (B, T) nats, float32, or float64 for float64 inputs; first derivatives only. A word whose logit is -inf in one or both has probability 0; inf
        where the teacher (beta 0) or the student (beta 1) gives probability to a word that the other rules out.

    Raises:
        ValueError: shapes that differ or are not (B, T, V), beta outside [0, 1], a temperature <= 0.
    """
    if student_logits.dim() != 3 or student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"student_logits {tuple(student_logits.shape)}, teacher_logits {tuple(teacher_logits.shape)}: expected (B, T, V) twice."
        )
    _check_numbers(beta, temperature=temperature)
    wide = wide_dtype(student_logits.dtype, teacher_logits.dtype)
    log_p = (student_logits.to(wide) / temperature).log_softmax(-1)  # (B, T, V)
    log_q = (teacher_logits.detach().to(wide) / temperature).log_softmax(-1)
    p, q = log_p.exp(), log_q.exp()
    if beta == 0:
        return (q * (log_q - log_p)).masked_fill(q == 0, 0).sum(-1)
    if beta == 1:
        return (p * (log_p - log_q).detach().masked_fill(p == 0, 0)).sum(-1)
    ratio = (log_q - log_p.detach()).clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
    ratio = ratio.nan_to_num(nan=0.0)  # -inf - -inf, where both probabilities are 0; they keep a true NaN
    above_student = torch.log1p(beta * torch.expm1(ratio))  # log M - log S, exact for small ratios
    above_teacher = torch.log1p((1 - beta) * torch.expm1(-ratio))  # log M - log T
    # Constants: what the student changes through the two logs cancels in each word, since M = (1 - beta) p + beta q.
    return -(beta * q * above_teacher + (1 - beta) * p * above_student).sum(-1)


def linear_jsd(
    student_hidden: Tensor,
    student_weight: Tensor,
    teacher_hidden: Tensor,
    teacher_weight: Tensor,
    *,
    beta: float,
    temperature: float = 1.0,
    chunk_tokens: int = CHUNK_TOKENS,
    student_head: Mapping[str, Any] | None = None,
    teacher_head: Mapping[str, Any] | None = None,
    keep_tiles: bool = True,
) -> Tensor:
    """`generalized_jsd` of the logits of two output heads, a few rows at a time.

    Heads padded to different sizes (Qwen2.5-VL: 151,936 words at 3B, 152,064 at 7B) are compared over the first
    min(Vs, Vt) words, each renormalised over those: the words beyond must be padding that no tokenizer writes.

    Args:
        student_hidden: (B, T, Hs).
        student_weight: (Vs, Hs), the student's output weight.
        teacher_hidden: (B, T, Ht), of the same positions of the same text; a constant, as are all tensors of the teacher.
        teacher_weight: (Vt, Ht).
        beta: from 0 to 1, as in `generalized_jsd`.
        temperature: divides both logits, on top of a head's own.
        chunk_tokens: rows whose logits exist at one time; a trade of memory for speed, without effect on the values.
        student_head: what else the student's head has: `bias`, `lora`, `softcap`, `temperature` of `linear_logprobs`.
        teacher_head: the same of the teacher's.
        keep_tiles: for a trained `student_weight`, take the memory of its gradient in the forward pass already and keep there
            what the backward pass needs. False where many calls precede one backward.

    Returns:
        (B, T) nats; float32, or float64 for float64 inputs. Gradients reach the student's hidden, weight, bias, A and B, those
        that require one; there is no second derivative.

    Raises:
        ValueError: shapes that do not fit, an unknown key of a head, beta outside [0, 1], a temperature, soft-cap or
            `chunk_tokens` <= 0.
        RuntimeError: a backward pass with `create_graph=True`.
    """
    if student_hidden.shape[:-1] != teacher_hidden.shape[:-1]:
        shapes = f"student_hidden {tuple(student_hidden.shape)}, teacher_hidden {tuple(teacher_hidden.shape)}"
        raise ValueError(f"{shapes}: expected (B, T, Hs) and (B, T, Ht) of the same positions.")
    _check_numbers(beta, temperature=temperature, chunk_tokens=chunk_tokens)
    student_dtype = product_dtype(student_hidden, student_weight)
    teacher_dtype = product_dtype(teacher_hidden, teacher_weight)
    shared = (min(len(student_weight), len(teacher_weight)), temperature, chunk_tokens)
    with torch.autocast(student_hidden.device.type, enabled=False):
        student = _head("student", student_hidden, student_weight, student_head, student_dtype, *shared)
        with torch.no_grad():
            teacher = _head("teacher", teacher_hidden, teacher_weight, teacher_head, teacher_dtype, *shared)
        inputs = (student.bias, *student.lefts, *student.rights)
        if torch.is_grad_enabled() and any(value is not None and value.requires_grad for value in inputs):
            values: Tensor = LinearJSD.apply(student, teacher, beta, keep_tiles, *inputs)  # type: ignore[no-untyped-call]
        else:
            with torch.no_grad():  # the teacher's own tensors may require a gradient
                values = forward_tiles(student, teacher, beta, slopes=[None] * len(student.lefts), store=None)[0]
    return values.view(student_hidden.shape[:-1])  # (B, T)


def step_weights(
    student_logps: Tensor, teacher_logps: Tensor, segments: Tensor, *, eps: float, delta: float
) -> Tensor:
    """Weigh each step of a text by how far the student has left its teacher since the first one (SOD, arXiv 2605.07725).

    d_k = mean over the tokens of step k of |log pi_S - log pi_T|,  w_k = min((d_1 + eps) / (d_k + eps), 1 + delta)

    Args:
        student_logps: (B, T) log-probs of the written tokens.
        teacher_logps: (B, T) of the same tokens.
        segments: (B, T) integer step of each token, 0 .. K - 1; -1 where there is none, and nothing is read there. d_1 belongs
            to a row's first step that has a token.
        eps: nats added to both divergences; above 0.
        delta: how far above 1 a weight may rise (the paper's: 0.2).

    Returns:
        (B, T) w of each token's step, 0 where there is none; at least float32, without gradient.

    Raises:
        ValueError: shapes that differ or are not (B, T), segments that are not integers >= -1, an eps <= 0, a delta < 0.
    """
    if segments.dim() != 2 or not student_logps.shape == teacher_logps.shape == segments.shape:
        shapes = f"student_logps {tuple(student_logps.shape)}, teacher_logps {tuple(teacher_logps.shape)}"
        raise ValueError(f"{shapes}, segments {tuple(segments.shape)}: expected (B, T) three times.")
    _check_numbers(eps=eps)
    if not delta >= 0:
        raise ValueError(f"delta: got {delta}, expected a number from 0 on.")
    if segments.is_floating_point() or (segments.numel() and int(segments.min()) < -1):
        raise ValueError(f"segments: got {segments.dtype} from {segments.min().item()}, expected integers from -1 on.")
    inside = segments >= 0
    wide = wide_dtype(student_logps.dtype, teacher_logps.dtype)
    gaps = torch.where(inside, (student_logps.detach().to(wide) - teacher_logps.detach().to(wide)).abs(), 0)
    places = segments.long() + 1  # column 0 collects the tokens of no step
    columns = int(places.max()) + 1 if places.numel() else 1
    sums = gaps.new_zeros(len(gaps), max(columns, 2)).scatter_add_(1, places, gaps)  # (B, K + 1)
    counts = torch.zeros_like(sums).scatter_add_(1, places, torch.ones_like(gaps))
    means = sums / counts.clamp(min=1)
    first = 1 + (counts[:, 1:] > 0).byte().argmax(dim=1, keepdim=True)  # (B, 1); argmax gives the first of equals
    weights = ((means.gather(1, first) + eps) / (means + eps)).clamp(max=1 + delta)
    return torch.where(inside, weights.gather(1, places), 0)


def _head(
    name: str,
    hidden: Tensor,
    weight: Tensor,
    options: Mapping[str, Any] | None,
    dtype: torch.dtype,
    words: int,
    temperature: float,
    chunk_tokens: int,
) -> Head:
    """The first `words` words of a head over the flattened positions."""
    options = dict(options or {})
    bias, lora, softcap, own = (options.pop(key, None) for key in HEAD_KEYS)
    if options:
        raise ValueError(f"{name}_head: unknown keys {sorted(options)}, expected some of {', '.join(HEAD_KEYS)}.")
    own = 1.0 if own is None else own
    _check_numbers(**{f"{name}_head temperature": own, f"{name}_head softcap": softcap})
    shapes = f"{name}_hidden {tuple(hidden.shape)}, {name}_weight {tuple(weight.shape)}"
    if hidden.dim() != 3 or weight.dim() != 2 or hidden.shape[2:] != weight.shape[1:] or not len(weight):
        raise ValueError(f"{shapes}: expected (B, T, H) and (V, H).")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"{shapes}, {name}_head bias {tuple(bias.shape)}: expected one value per row of the weight.")
    rows = hidden.flatten(0, 1).to(dtype)  # (N, H)
    lefts: tuple[Tensor, ...] = (rows,)
    rights: tuple[Tensor, ...] = (_first(weight, words),)
    if lora is not None:
        down, up, scaling = lora
        if down.shape[1:] != weight.shape[1:] or up.shape != (len(weight), len(down)):
            raise ValueError(
                f"{shapes}, {name}_head lora A {tuple(down.shape)}, B {tuple(up.shape)}: expected (r, H) and (V, r)."
            )
        lefts, rights = (rows, rows @ down.to(dtype).T * scaling), (*rights, _first(up, words))  # (N, r), (V, r)
    bias = None if bias is None else _first(bias, words)
    return Head(lefts, rights, bias, own * temperature, softcap, chunk_tokens)


def _first(tensor: Tensor, words: int) -> Tensor:
    """The rows of the first words; the tensor itself where these are all, so that its gradient is not copied."""
    return tensor if len(tensor) == words else tensor[:words]


def _check_numbers(beta: float = 0.0, **positive: float | None) -> None:
    if not 0 <= beta <= 1:
        raise ValueError(
            f"beta: got {beta}, expected a number from 0 (KL(teacher || student)) to 1 (KL(student || teacher))."
        )
    for key, value in positive.items():
        if value is not None and not value > 0:
            raise ValueError(f"{key}: got {value}, expected a number above 0.")
