"""The generalised Jensen-Shannon divergence of two output heads and its gradients, a few rows at a time (behind losses/distill.py).

With S the student, T the teacher, p and q their probabilities of a word, M the mixture, and r a constant, for each position

    d D / d (student logit v) = p_v (r_v - sum_w p_w r_w),   r = (1 - beta) log(S / M), log(S / T) for beta 1, -q / p for beta 0.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .head import Head, add_product, kept_tile, may_keep_tiles, shaped
from .reduce import wide_dtype


# Log-ratios beyond count as this: exp stays finite in float32, and what is lost has the weight exp(-80).
LARGEST_LOG_RATIO = 80.0


class LinearJSD(torch.autograd.Function):
    """`forward_tiles` with its gradients.

    d D / d left is made along with D, (N, K) a factor, exact for any upstream gradient, which only scales its rows. The gradient
    of a word (weight, bias, LoRA B) sums over rows, so it waits for the upstream gradient: d D / d logits is kept as far as the
    memory of the weight's gradient reaches and recomputed beyond.
    """

    @staticmethod
    def forward(
        ctx: Any, student: Head, teacher: Head, beta: float, keep_tiles: bool, bias: Tensor | None, *factors: Tensor
    ) -> Tensor:
        half = len(factors) // 2
        needed = ctx.needs_input_grad[4:]  # bias, left factors, right factors
        wide = wide_dtype(student.wide, teacher.wide)
        slopes = [
            left.new_zeros(left.shape, dtype=wide) if wanted else None
            for left, wanted in zip(student.lefts, needed[1 : 1 + half], strict=True)
        ]
        ctx.frozen = not needed[0] and not any(needed[1 + half :])
        ctx.store, ctx.beta = None, beta
        if keep_tiles and may_keep_tiles() and needed[1 + half] and student.rights[0].dtype == wide:
            ctx.store = student.rights[0].new_empty(student.rights[0].shape)
        values, *sums = forward_tiles(student, teacher, beta, slopes=slopes, store=ctx.store)
        # The tensors go through save_for_backward, which notices when one is changed before the backward pass.
        ctx.heads = [replace(head, lefts=(), rights=(), bias=None) for head in (student, teacher)]
        ctx.half = half
        tensors = (*sums, bias, *factors, teacher.bias, *teacher.lefts, *teacher.rights)
        ctx.save_for_backward(*slopes, *(() if ctx.frozen else tensors))
        return values

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # only under create_graph=True; the graph would silently miss this function
            raise RuntimeError("linear_jsd has no second derivative: run backward without create_graph.")
        half = ctx.half
        slopes, tensors = ctx.saved_tensors[:half], ctx.saved_tensors[half:]
        lefts = [None if slope is None else slope * grad[:, None] for slope in slopes]
        if ctx.frozen:
            return (None, None, None, None, None, *lefts, *(None,) * half)
        sums, (bias, *factors) = tensors[:3], tensors[3:]
        student = _filled(ctx.heads[0], bias, factors[: 2 * half])
        teacher = _filled(ctx.heads[1], factors[2 * half], factors[2 * half + 1 :])
        store, ctx.store = ctx.store, None  # its tiles are overwritten: a second backward pass recomputes all
        needed = (ctx.needs_input_grad[4], *ctx.needs_input_grad[5 + half :])
        with torch.autocast(grad.device.type, enabled=False):
            bias_grad, *rights = backward_tiles(student, teacher, ctx.beta, sums, grad, needed=needed, store=store)
        return (None, None, None, None, bias_grad, *lefts, *rights)


def forward_tiles(
    student: Head, teacher: Head, beta: float, *, slopes: list[Tensor | None], store: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """D (N,), log normalisers of student and teacher (N, 2) and sum_v p_v r_v (N,); fills `slopes` (N, K), zeros, and `store`.

    All words of a few rows stay in memory: what follows the normalisers needs no second product.
    """
    wide = wide_dtype(student.wide, teacher.wide)
    new = student.lefts[0].new_empty
    pools = [new(student.tile_rows * student.words, dtype=wide) for _ in range(2)]
    scratch = [new(student.tile_rows * student.tile_words, dtype=wide) for _ in range(2)]
    values, expected = new(student.rows, dtype=wide).zero_(), new(student.rows, dtype=wide).zero_()
    normalisers = [new(student.rows, 2, dtype=wide) for _ in range(2)]
    wanted = store is not None or any(slope is not None for slope in slopes)
    for rows in student.row_chunks():
        for head, pool, places in zip((student, teacher), pools, normalisers, strict=True):
            places[rows] = _fill(head, pool, scratch[0], rows)
        for words in student.word_chunks():
            tiles = [_part(pool, rows, words) for pool in pools] + [shaped(flat, rows, words) for flat in scratch]
            value, share = _weigh(student, tiles, [places[rows] for places in normalisers], beta)
            values[rows] += value
            expected[rows] += share
        for words in student.word_chunks() if wanted else ():
            p, weighted = (_part(pool, rows, words) for pool in pools)
            slope_tile = weighted.addcmul_(p, expected[rows, None], value=-1)  # (n, v) d D / d logit
            kept = kept_tile(student, store, words)
            if kept is not None:
                kept[rows] = slope_tile
            for index, slope in enumerate(slopes):
                if slope is not None:
                    narrow = slope_tile.to(student.lefts[index].dtype)
                    add_product(slope[rows], narrow, student.right(index, words))
    for slope in slopes:
        if slope is not None:
            slope.div_(student.temperature)
    return values, normalisers[0], normalisers[1], expected


def _fill(head: Head, pool: Tensor, scratch: Tensor, rows: slice) -> Tensor:
    """Write the logits of some rows into `pool`, word chunk after word chunk; returns their log normalisers (n, 2).

    Each in two parts, the highest logit and the rest: one number would round by the size of the logits, and all p of a row with it.
    """
    highest = pool.new_full((rows.stop - rows.start,), torch.finfo(pool.dtype).min)
    total = torch.zeros_like(highest)
    for words in head.word_chunks():
        logits, tile = _part(pool, rows, words), shaped(scratch, rows, words)
        head.write_logits(logits, rows, words)
        previous, highest = highest, torch.maximum(highest, logits.amax(1))
        torch.sub(logits, highest[:, None], out=tile).exp_()
        total.mul_((previous - highest).exp_()).add_(tile.sum(1))
    return torch.stack((highest, total.log_()), dim=1)


def _weigh(student: Head, tiles: list[Tensor], normalisers: list[Tensor], beta: float) -> tuple[Tensor, Tensor]:
    """This tile's share of D and of sum_v p_v r_v, (n,) each. Turns logits in place: the student's into p, the teacher's into p r.

    Args:
        student: whose cap bends the logits: p and p r are multiplied by its slope.
        tiles: logits of the student and of the teacher, and two scratch tiles, (n, v) each.
        normalisers: of the student's and the teacher's logits, (n, 2) each.
        beta: as in `generalized_jsd`.
    """
    p, q, ratio, other = tiles
    cap_slope = student.cap_slope(p)
    for logits, normaliser in zip((p, q), normalisers, strict=True):
        logits.sub_(normaliser[:, :1]).sub_(normaliser[:, 1:])
    torch.sub(q, p, out=ratio)
    p.exp_()
    q.exp_()
    if beta == 0:
        value = ratio.mul_(q).masked_fill_(q == 0, 0).sum(1)
        weighted = q.neg_()
        share = weighted.sum(1)
    elif beta == 1:
        weighted = torch.mul(ratio, p, out=q).neg_().masked_fill_(p == 0, 0)
        value = share = weighted.sum(1)
    else:
        ratio.clamp_(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO).nan_to_num_(nan=0.0)  # see generalized_jsd
        torch.neg(ratio, out=other).expm1_().mul_(1 - beta).log1p_()  # log M - log T
        value = other.mul_(q).sum(1).mul_(-beta)
        weighted = torch.mul(ratio.expm1_().mul_(beta).log1p_(), p, out=q).mul_(beta - 1)
        share = weighted.sum(1)
        value += share
    if cap_slope is not None:
        p.mul_(cap_slope)
        weighted.mul_(cap_slope)
    return value, share


def backward_tiles(
    student: Head,
    teacher: Head,
    beta: float,
    sums: tuple[Tensor, ...],
    grad: Tensor,
    *,
    needed: tuple[bool, ...],
    store: Tensor | None,
) -> list[Tensor | None]:
    """Gradients of bias and right factors, None where not needed; `sums` are the last three results of `forward_tiles`.

    Words outside, rows inside: a word's gradient is summed over all rows in the wide dtype and written to its place once.
    """
    *normalisers, expected = sums
    flats = [grad.new_empty(student.tile_rows * student.tile_words) for _ in range(4)]
    upstream = grad / student.temperature  # (N,)
    bias_grad = torch.empty_like(student.bias) if student.bias is not None and needed[0] else None
    right_grads = [
        torch.empty_like(r) if wanted else None for r, wanted in zip(student.rights, needed[1:], strict=True)
    ]
    if store is not None:
        right_grads[0] = store
    for words in student.word_chunks():
        kept = kept_tile(student, store, words)
        bias_sum = grad.new_zeros(words.stop - words.start)  # (v,)
        # Apart from its place, which may still hold this chunk's tile.
        right_sums = [None if g is None else grad.new_zeros(g[words].shape) for g in right_grads]
        for rows in student.row_chunks():
            if kept is not None:
                tile = kept[rows]
            else:
                tiles = [shaped(flat, rows, words) for flat in flats]
                student.write_logits(tiles[0], rows, words)
                teacher.write_logits(tiles[1], rows, words)
                _weigh(student, tiles, [places[rows] for places in normalisers], beta)
                tile = tiles[1].addcmul_(tiles[0], expected[rows, None], value=-1)
            tile.mul_(upstream[rows, None])  # (n, v) d loss / d logit
            if bias_grad is not None:
                bias_sum += tile.sum(0)
            for left, right_sum in zip(student.lefts, right_sums, strict=True):
                if right_sum is not None:
                    add_product(right_sum, tile.to(left.dtype).T, left[rows])
        for place, finished in zip((bias_grad, *right_grads), (bias_sum, *right_sums), strict=True):
            if place is not None and finished is not None:
                place[words] = finished
    return [bias_grad, *right_grads]


def _part(pool: Tensor, rows: slice, words: slice) -> Tensor:
    """The place (n, v) of some words in memory for all words of some rows: contiguous, unlike columns of an (n, V) tensor."""
    height = rows.stop - rows.start
    return pool[words.start * height : words.stop * height].view(height, words.stop - words.start)


def _filled(head: Head, bias: Tensor | None, factors: list[Tensor]) -> Head:
    half = len(factors) // 2
    return replace(head, bias=bias, lefts=tuple(factors[:half]), rights=tuple(factors[half:]))
