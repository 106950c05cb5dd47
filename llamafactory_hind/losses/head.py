"""An output head as something that gives its logits tile by tile, a few rows by a few words at a time."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor

from .reduce import wide_dtype


MIN_WORDS, MAX_WORDS = (
    1024,
    16384,
)  # of a tile: below, products lose speed; above, a widened copy of the weights costs memory
# Elements of a tile. On a CPU it should stay in the cache between the product and the softmax (1024 x 1024: 4 MiB was the
# fastest measured); elsewhere the number of kernel launches counts (not measured).
CPU_TILE, OTHER_TILE = 2**20, 2**24


_many_passes: ContextVar[bool] = ContextVar("many_passes", default=False)


@contextmanager
def many_passes() -> Iterator[None]:
    """Keep no logits for the backward pass while the block runs: many passes come before it, and each would keep its own."""
    token = _many_passes.set(True)
    try:
        yield
    finally:
        _many_passes.reset(token)


def may_keep_tiles() -> bool:
    """Say whether a pass may keep logits in the memory of the weight's gradient."""
    return not _many_passes.get()


@dataclass(frozen=True)
class Head:
    """logits = cap(sum of left @ right^T over the factor pairs + bias) / temperature.

    The first pair is hidden states and weight; a second one, where there is one, is the low-rank pair of a LoRA.
    """

    lefts: tuple[Tensor, ...]  # (N, K) each, in the dtype of the matrix products
    rights: tuple[Tensor, ...]  # (V, K) each
    bias: Tensor | None  # (V,)
    temperature: float
    softcap: float | None
    chunk_tokens: int

    @property
    def rows(self) -> int:
        """N."""
        return len(self.lefts[0])

    @property
    def words(self) -> int:
        """V."""
        return len(self.rights[0])

    @property
    def wide(self) -> torch.dtype:
        """The dtype of everything but the matrix products."""
        return wide_dtype(self.lefts[0].dtype)

    @property
    def tile_words(self) -> int:
        """Words of a tile, by the device and the rows of a tile."""
        elements = CPU_TILE if self.lefts[0].device.type == "cpu" else OTHER_TILE
        return min(max(elements // max(self.tile_rows, 1), MIN_WORDS), MAX_WORDS, self.words)

    @property
    def tile_rows(self) -> int:
        """Rows of a tile."""
        return min(self.chunk_tokens, self.rows)

    def row_chunks(self) -> Iterator[slice]:
        """The rows of each tile of a column of tiles."""
        return _chunks(self.rows, self.chunk_tokens)

    def word_chunks(self) -> Iterator[slice]:
        """The words of each tile of a row of tiles."""
        return _chunks(self.words, self.tile_words)

    def buffer(self) -> Tensor:
        """Memory for one tile (n * v,), to be reused for all: fresh memory for each costs page faults."""
        return self.lefts[0].new_empty(self.tile_rows * self.tile_words, dtype=self.wide)

    def right(self, factor: int, words: slice) -> Tensor:
        """Some words of a right factor (v, K), in the dtype of the matrix products."""
        return self.rights[factor][words].to(self.lefts[factor].dtype)

    def write_logits(self, logits: Tensor, rows: slice, words: slice) -> None:
        """Compute the logits of some rows and words into `logits` (n, v)."""
        for index, left in enumerate(self.lefts):
            add_product(logits, left[rows], self.right(index, words).T, fresh=index == 0)
        if self.bias is not None:
            logits.add_(self.bias[words])
        if self.softcap is not None:
            logits.div_(self.softcap).tanh_().mul_(self.softcap)
        if self.temperature != 1.0:
            logits.div_(self.temperature)

    def cap_slope(self, logits: Tensor) -> Tensor | None:
        """Slope of the cap (n, v) where it gave `logits`, 1 - tanh^2; None for an uncapped head."""
        if self.softcap is None:
            return None
        return 1 - (logits * (self.temperature / self.softcap)).square_()


def shaped(buffer: Tensor, rows: slice, words: slice) -> Tensor:
    """The beginning of flat memory as a tile (n, v)."""
    height, width = rows.stop - rows.start, words.stop - words.start
    return buffer[: height * width].view(height, width)


def kept_tile(head: Head, store: Tensor | None, words: slice) -> Tensor | None:
    """The place (N, v) in `store` (V, H), which a gradient of the weight will fill later, for a tile; None without room.

    The gradient of the words up to w fills w * H elements of the store, the tiles of the words from w on begin at
    w * max(N, H): in ascending order of words a gradient overwrites tiles of its own and of earlier words only.
    """
    if store is None:
        return None
    width = words.stop - words.start
    start = words.start * max(head.rows, store.shape[1])
    stop = start + head.rows * width
    return store.view(-1)[start:stop].view(head.rows, width) if stop <= store.numel() else None


def factors(
    rows: Tensor, weight: Tensor, lora: tuple[Tensor, Tensor, float] | None
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return the left factors (N, K) and right factors (V, K) of a head for hidden states `rows` (N, H)."""
    if lora is None:
        return (rows,), (weight,)
    down, up, scaling = lora
    return (rows, rows @ down.to(rows.dtype).T * scaling), (weight, up)  # (N, r), (V, r)


def head_gradients(
    head: Head,
    slope: Callable[[Tensor, slice, slice], None],
    *,
    needed: Sequence[bool],
    store: Tensor | None = None,
) -> list[Tensor | None]:
    """Gradients of bias, left factors and right factors, None where not needed.

    Words outside, rows inside: a word's gradient is summed over all rows in the wide dtype and written to its place once.

    Args:
        head: its logits are computed again, tile by tile.
        slope: turns a tile of logits (n, v), given with its rows and words, in place into d loss / d logit as if nothing capped it.
        needed: for the bias, each left factor, each right factor.
        store: memory (V, H) of the weight's gradient, in which some tiles of logits are kept; see `kept_tile`.
    """
    half = len(head.lefts)
    buffer = head.buffer()
    bias_grad = torch.empty_like(head.bias) if head.bias is not None and needed[0] else None
    left_grads = [
        left.new_zeros(left.shape, dtype=head.wide) if wanted else None
        for left, wanted in zip(head.lefts, needed[1 : 1 + half], strict=True)
    ]
    right_grads = [
        right.new_empty(right.shape) if wanted else None
        for right, wanted in zip(head.rights, needed[1 + half :], strict=True)
    ]
    if store is not None:
        right_grads[0] = store
    for words in head.word_chunks():
        kept = kept_tile(head, store, words)
        bias_sum = buffer.new_zeros(words.stop - words.start)  # (v,)
        # Apart from its place, which may still hold this chunk's logits.
        right_sums = [None if g is None else g.new_zeros(g[words].shape, dtype=head.wide) for g in right_grads]
        for rows in head.row_chunks():
            tile = shaped(buffer, rows, words) if kept is None else kept[rows]
            if kept is None:
                head.write_logits(tile, rows, words)
            cap_slope = head.cap_slope(tile)
            slope(tile, rows, words)
            if cap_slope is not None:
                tile.mul_(cap_slope)
            if bias_grad is not None:
                bias_sum += tile.sum(0)
            for index, left in enumerate(head.lefts):
                narrow = tile.to(left.dtype)
                left_grad, right_sum = left_grads[index], right_sums[index]
                if left_grad is not None:
                    add_product(left_grad[rows], narrow, head.right(index, words))
                if right_sum is not None:
                    add_product(right_sum, narrow.T, left[rows])
        for place, finished in zip((bias_grad, *right_grads), (bias_sum, *right_sums), strict=True):
            if place is not None and finished is not None:
                place[words] = finished
    lefts = [None if g is None else g.to(left.dtype) for g, left in zip(left_grads, head.lefts, strict=True)]
    return [bias_grad, *lefts, *right_grads]


def product_dtype(hidden: Tensor, weight: Tensor) -> torch.dtype:
    """The dtype of the matrix products: the one of the model's own head, but never below float32 on a CPU.

    A bf16 product is hundreds of times slower than a float32 one on a CPU without bf16 units, and less exact.
    """
    given = torch.promote_types(hidden.dtype, weight.dtype)
    if hidden.device.type == "cpu":
        return wide_dtype(given)
    if torch.is_autocast_enabled(hidden.device.type) and given != torch.float64:
        return torch.get_autocast_dtype(hidden.device.type)
    return given


def add_product(total: Tensor, left: Tensor, right: Tensor, *, fresh: bool = False) -> None:
    """Add left @ right to `total`, or write it there when `fresh`; `total` may be wider than the factors."""
    if total.dtype != left.dtype:
        product = left @ right
        total.copy_(product) if fresh else total.add_(product)
    elif fresh:
        torch.mm(left, right, out=total)
    else:
        total.addmm_(left, right)


def _chunks(length: int, size: int) -> Iterator[slice]:
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))
