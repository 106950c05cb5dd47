"""Entropy of an output head's distribution at every token, without ever building the logits of all tokens.

Logits exist tile by tile (losses/head.py). A streaming log-sum-exp joins the tiles of a row, beside the mean logit.
"""

from typing import Any

import torch
from torch import Tensor

from .head import Head, factors, head_gradients, product_dtype, shaped


CHUNK_TOKENS = 1024


def linear_entropy(
    hidden: Tensor,
    weight: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    chunk_tokens: int = CHUNK_TOKENS,
    softcap: float | None = None,
    lora: tuple[Tensor, Tensor, float] | None = None,
) -> Tensor:
    """Entropy of p = softmax(z), with z = cap(hidden @ W^T + s (hidden @ A^T) @ B^T + bias) / temperature.

    H = -sum_v p_v log p_v = log sum_v exp z_v - sum_v p_v z_v;  d H / d z_v = -p_v (z_v - sum_w p_w z_w)

    Args:
        hidden: (N, H) states.
        weight: (V, H), the head's W.
        bias: (V,) or None.
        temperature: divides the logits, after the cap.
        chunk_tokens: rows of logits that exist at one time; a trade of memory for speed, without effect on the values.
        softcap: c of c * tanh(logits / c), or None.
        lora: A (r, H), B (V, r) and the scaling s of a LoRA on the head, or None.

    Returns:
        (N,) in nats; float32, or float64 for float64 inputs. Gradients reach hidden, weight, bias, A and B, those that require
        one; there is no second derivative.

    Raises:
        ValueError: shapes that do not fit.
        RuntimeError: a backward pass with `create_graph=True`.
    """
    if hidden.dim() != 2 or weight.dim() != 2 or hidden.shape[1] != weight.shape[1]:
        raise ValueError(f"hidden {tuple(hidden.shape)}, weight {tuple(weight.shape)}: expected (N, H) and (V, H).")
    dtype = product_dtype(hidden, weight)
    with torch.autocast(hidden.device.type, enabled=False):
        lefts, rights = factors(hidden.to(dtype), weight, lora)
        entropies: Tensor = _LinearEntropy.apply((temperature, softcap, chunk_tokens), bias, *lefts, *rights)  # type: ignore[no-untyped-call]
    return entropies


class _LinearEntropy(torch.autograd.Function):
    """`_forward` with its gradients; the backward pass computes the logits again."""

    @staticmethod
    def forward(ctx: Any, settings: Any, bias: Tensor | None, *pairs: Tensor) -> Tensor:
        half = len(pairs) // 2
        ctx.settings, ctx.half = settings, half
        normalisers, means = _forward(Head(pairs[:half], pairs[half:], bias, *settings))
        ctx.save_for_backward(normalisers, means, bias, *pairs)
        return normalisers - means

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # only under create_graph=True; the graph would silently miss this function
            raise RuntimeError("linear_entropy has no second derivative: run backward without create_graph.")
        normalisers, means, bias, *pairs = ctx.saved_tensors
        head = Head(tuple(pairs[: ctx.half]), tuple(pairs[ctx.half :]), bias, *ctx.settings)
        upstream = grad / head.temperature  # (N,)

        def slope(tile: Tensor, rows: slice, words: slice) -> None:
            away = tile - means[rows, None]
            tile.sub_(normalisers[rows, None]).exp_().mul_(away.nan_to_num_(neginf=0.0)).mul_(-upstream[rows, None])

        with torch.autocast(grad.device.type, enabled=False):
            return (None, *head_gradients(head, slope, needed=ctx.needs_input_grad[1:]))


def _forward(head: Head) -> tuple[Tensor, Tensor]:
    """Log normalisers log sum_v exp z_v and mean logits sum_v p_v z_v, (N,) each."""
    buffer = head.buffer()
    normalisers, means = (head.lefts[0].new_empty(head.rows, dtype=head.wide) for _ in range(2))
    for rows in head.row_chunks():
        # The lowest finite number, not -inf: a tile of -inf logits (masked words) must not give inf - inf.
        highest = torch.full_like(normalisers[rows], torch.finfo(head.wide).min)  # (n,)
        total, weighted = torch.zeros_like(highest), torch.zeros_like(highest)
        for words in head.word_chunks():
            logits = shaped(buffer, rows, words)
            head.write_logits(logits, rows, words)
            previous, highest = highest, torch.maximum(highest, logits.amax(1))
            shrink = (previous - highest).exp_()
            probabilities = (logits - highest[:, None]).exp_()  # (n, v), not yet normalised
            total.mul_(shrink).add_(probabilities.sum(1))
            logits.nan_to_num_(neginf=0.0)  # a masked word has probability 0: 0 times -inf is not a number
            weighted.mul_(shrink).add_(probabilities.mul_(logits).sum(1))
        normalisers[rows] = highest + total.log()
        means[rows] = weighted / total
    return normalisers, means
