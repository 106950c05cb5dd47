"""Log-probabilities of given ids from hidden states and an output head, without ever building a (B, T, V) tensor.

Logits exist tile by tile (losses/head.py); a streaming log-sum-exp (Milakov and Gimelshein, arXiv 1805.02867) joins the tiles
of a row. What the backward pass needs is kept or recomputed, whichever is cheaper for the tensors that require a gradient.
"""

from typing import Any

import torch
from torch import Tensor

from .head import Head, add_product, factors, head_gradients, kept_tile, may_keep_tiles, product_dtype, shaped


IGNORE_INDEX = -100
CHUNK_TOKENS = 1024


def linear_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    chunk_tokens: int = CHUNK_TOKENS,
    softcap: float | None = None,
    lora: tuple[Tensor, Tensor, float] | None = None,
    keep_tiles: bool = True,
) -> Tensor:
    """Log-probabilities of `targets` under softmax(cap(hidden @ W^T + s (hidden @ A^T) @ B^T + bias) / temperature).

    Args:
        hidden: (B, T, H) states that predict `targets` at the same position (the caller shifts).
        weight: (V, H), the head's W.
        targets: (B, T) ids; -100 is not scored: log-prob 0, gradient 0, nothing computed.
        bias: (V,) or None.
        temperature: divides the logits, after the cap.
        chunk_tokens: rows of logits that exist at one time; a trade of memory for speed, without effect on the values.
        softcap: c of c * tanh(logits / c) (Gemma 2), or None.
        lora: A (r, H), B (V, r) and the scaling s of a LoRA on the head, or None.
        keep_tiles: for a trained `weight`, take the memory of its gradient in the forward pass already and keep logits there
            until the gradient replaces them: the same peak, less to recompute. False where many calls precede one backward.

    Returns:
        (B, T) natural-log probabilities; float32, or float64 for float64 inputs. Gradients reach hidden, weight, bias, A and
        B, those that require one; there is no second derivative.

    Raises:
        ValueError: shapes that do not fit, an id outside [0, V), a `chunk_tokens`, `temperature` or `softcap` <= 0.
        RuntimeError: a backward pass with `create_graph=True`.
    """
    _check_shapes(hidden, weight, targets, bias, lora)
    _check_positive(chunk_tokens=chunk_tokens, temperature=temperature, softcap=softcap)
    scored = (targets.flatten() != IGNORE_INDEX).nonzero()[:, 0]  # (N,)
    ids = targets.flatten()[scored]
    _check_ids(ids, len(weight))
    dtype = product_dtype(hidden, weight)
    with torch.autocast(hidden.device.type, enabled=False):
        lefts, rights = factors(hidden.flatten(0, 1)[scored].to(dtype), weight, lora)
        settings = (temperature, softcap, chunk_tokens)
        inputs = (bias, *lefts, *rights)
        if torch.is_grad_enabled() and any(value is not None and value.requires_grad for value in inputs):
            logps: Tensor = _LinearLogprobs.apply(settings, keep_tiles, ids, *inputs)  # type: ignore[no-untyped-call]
        else:
            logps, _ = _forward(Head(lefts, rights, bias, *settings), ids, slopes=[None] * len(lefts), store=None)
    return logps.new_zeros(targets.numel()).index_copy(0, scored, logps).view(targets.shape)  # (B, T)


class _LinearLogprobs(torch.autograd.Function):
    """`_forward` with its gradients.

    While bias and right factors are frozen, d logp / d left is all the backward pass needs: it is kept, (N, K) a factor.
    Otherwise the normalisers are, (N,), and the logits for which the gradient of the weight has room: the gradient of a word
    sums over rows, so it has to wait for the upstream gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, settings: Any, keep_tiles: bool, ids: Tensor, bias: Tensor | None, *factors: Tensor
    ) -> Tensor:
        half = len(factors) // 2
        head = Head(factors[:half], factors[half:], bias, *settings)
        needed = ctx.needs_input_grad[3:]  # bias, left factors, right factors
        ctx.settings, ctx.half, ctx.store = settings, half, None
        ctx.frozen = not needed[0] and not any(needed[1 + half :])
        slopes: list[Tensor | None] = [None] * half
        if ctx.frozen:
            lefts = zip(head.lefts, needed[1:], strict=False)
            slopes = [left.new_zeros(left.shape, dtype=head.wide) if wanted else None for left, wanted in lefts]
        elif keep_tiles and may_keep_tiles() and needed[1 + half] and head.rights[0].dtype == head.wide:
            ctx.store = head.rights[0].new_empty(head.rights[0].shape)
        logps, normalisers = _forward(head, ids, slopes=slopes, store=ctx.store)
        ctx.save_for_backward(*(slopes if ctx.frozen else (ids, normalisers, bias, *factors)))
        return logps

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # only under create_graph=True; the graph would silently miss this function
            raise RuntimeError("linear_logprobs has no second derivative: run backward without create_graph.")
        if ctx.frozen:
            slopes = [None if slope is None else slope * grad[:, None] for slope in ctx.saved_tensors]
            return (None, None, None, None, *slopes, *(None,) * ctx.half)
        ids, normalisers, bias, *factors = ctx.saved_tensors
        head = Head(tuple(factors[: ctx.half]), tuple(factors[ctx.half :]), bias, *ctx.settings)
        store, ctx.store = ctx.store, None  # its logits are overwritten: a second backward pass recomputes all
        with torch.autocast(grad.device.type, enabled=False):
            grads = _backward(head, ids, normalisers, grad, needed=ctx.needs_input_grad[3:], store=store)
        return (None, None, None, *grads)


def _forward(head: Head, ids: Tensor, *, slopes: list[Tensor | None], store: Tensor | None) -> tuple[Tensor, Tensor]:
    """Log-probs (N,) and log normalisers (N,); fills `slopes` (N, K), zeros, and `store` (V, H) on the way.

    d logp / d left = (slope[target] right[target] - sum_v p_v slope_v right_v) / temperature, slope being that of the cap. The
    sum streams along with the normaliser: it is rescaled whenever a larger logit comes.
    """
    buffer = head.buffer()
    logps, normalisers = (head.lefts[0].new_empty(head.rows, dtype=head.wide) for _ in range(2))
    for rows in head.row_chunks():
        # The lowest finite number, not -inf: a tile of -inf logits (masked words) must not give inf - inf.
        highest = torch.full_like(logps[rows], torch.finfo(head.wide).min)  # (n,)
        total, target_logit = torch.zeros_like(highest), torch.zeros_like(highest)
        sums = [None if slope is None else slope[rows] for slope in slopes]  # (n, K)
        for words in head.word_chunks():
            tile = shaped(buffer, rows, words)
            kept = kept_tile(head, store, words)
            logits = tile if kept is None else kept[rows]
            head.write_logits(logits, rows, words)
            inside, column = _locate(ids[rows], words)
            target_logit = torch.where(inside, logits.gather(1, column)[:, 0], target_logit)
            cap_slope = head.cap_slope(logits) if any(expected is not None for expected in sums) else None
            previous, highest = highest, torch.maximum(highest, logits.amax(1))
            shrink = (previous - highest).exp_()
            torch.sub(logits, highest[:, None], out=tile).exp_()  # (n, v) probabilities, not yet normalised
            total.mul_(shrink).add_(tile.sum(1))
            if cap_slope is not None:
                tile.mul_(cap_slope)
            for index, expected in enumerate(sums):
                if expected is not None:
                    expected.mul_(shrink[:, None])
                    add_product(expected, tile.to(head.lefts[index].dtype), head.right(index, words))
        normalisers[rows] = highest + total.log()
        logps[rows] = target_logit - normalisers[rows]
        target_slope = head.cap_slope(target_logit[:, None])  # (n, 1)
        for right, expected in zip(head.rights, sums, strict=True):
            if expected is not None:
                own = right[ids[rows]].to(head.wide)  # (n, K)
                own = own if target_slope is None else own * target_slope
                expected.div_(-total[:, None]).add_(own).div_(head.temperature)
    return logps, normalisers


def _backward(
    head: Head, ids: Tensor, normalisers: Tensor, grad: Tensor, *, needed: tuple[bool, ...], store: Tensor | None
) -> list[Tensor | None]:
    """Gradients of bias, left factors and right factors, None where not needed."""
    upstream = grad / head.temperature  # (N,)

    def slope(tile: Tensor, rows: slice, words: slice) -> None:
        tile.sub_(normalisers[rows, None]).exp_().mul_(-upstream[rows, None])
        inside, column = _locate(ids[rows], words)
        tile.scatter_add_(1, column, (upstream[rows] * inside)[:, None])

    return head_gradients(head, slope, needed=needed, store=store)


def _locate(ids: Tensor, words: slice) -> tuple[Tensor, Tensor]:
    """Whether each id (n,) is one of `words`, and its column among them (n, 1), in bounds either way."""
    inside = (ids >= words.start) & (ids < words.stop)
    return inside, (ids - words.start).clamp_(0, words.stop - words.start - 1)[:, None]


def _check_shapes(
    hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None, lora: tuple[Tensor, Tensor, float] | None
) -> None:
    shapes = f"hidden {tuple(hidden.shape)}, weight {tuple(weight.shape)}, targets {tuple(targets.shape)}"
    if (
        hidden.dim() != 3
        or weight.dim() != 2
        or hidden.shape[:2] != targets.shape
        or hidden.shape[2:] != weight.shape[1:]
    ):
        raise ValueError(f"{shapes}: expected (B, T, H), (V, H) and (B, T).")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"bias: got {tuple(bias.shape)}, expected {tuple(weight.shape[:1])}, one value per row of weight."
        )
    if lora is not None:
        down, up = (tuple(factor.shape) for factor in lora[:2])
        if len(down) != 2 or down[1] != weight.shape[1] or up != (weight.shape[0], down[0]):
            raise ValueError(
                f"lora: got A {down} and B {up} beside weight {tuple(weight.shape)}: expected (r, H), (V, r)."
            )


def _check_positive(**values: float | None) -> None:
    for key, value in values.items():
        if value is not None and not value > 0:
            raise ValueError(f"{key}: got {value}, expected a number above 0.")


def _check_ids(ids: Tensor, words: int) -> None:
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < words:
        raise ValueError(
            f"targets: got ids from {int(ids.min())} to {int(ids.max())}, but the head has {words} words: expected ids in "
            f"[0, {words}), or {IGNORE_INDEX} where nothing is scored."
        )
