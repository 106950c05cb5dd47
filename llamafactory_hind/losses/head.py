"""An output head as something that gives its logits tile by tile, a few rows by a few words at a time."""

from collections.abc import Iterator
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
