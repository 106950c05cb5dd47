"""The order of prompts: shuffled by epoch, in blocks of one optimiser step, each block as often as it is learnt from."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers import TrainerCallback

from ...formats.fields import columns_of


class BlockSampler(Sampler[int]):
    """Yield the places of a dataset; every run of `block` of them comes `repeats` times in a row.

    The order depends on seed and epoch alone, so a resumed run sees the rest of it. With `repeats` above 1 the last block is filled
    up from the beginning of the epoch: a shorter one would not line up with the optimiser steps.

    Args:
        size: rows of the dataset.
        block: prompts of one optimiser step, over all processes.
        repeats: passes over each block.
        seed: of the order.
        shuffle: False keeps the order of the rows.
        ranks: of each row; an epoch goes from low to high, and only equal ones are shuffled. None shuffles all.
    """

    def __init__(
        self, size: int, *, block: int, repeats: int, seed: int, shuffle: bool, ranks: Sequence[float] | None = None
    ) -> None:
        """Keep the options."""
        self.size, self.block, self.repeats, self.seed, self.shuffle = size, block, repeats, seed, shuffle
        self.ranks = ranks
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order that the next iteration follows."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Places an epoch."""
        return self.size if self.repeats == 1 else math.ceil(self.size / self.block) * self.block * self.repeats

    def __iter__(self) -> Iterator[int]:
        """Yield the places of one epoch."""
        order = list(range(self.size))
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            order = torch.randperm(self.size, generator=generator).tolist()
        if self.ranks is not None:
            order.sort(key=self.ranks.__getitem__)  # stable: equal ones stay shuffled
        if self.repeats == 1:
            yield from order
            return
        for start in range(0, self.size, self.block):
            block = [order[place % self.size] for place in range(start, start + self.block)]
            for _ in range(self.repeats):
                yield from block


def curriculum_ranks(dataset: Any, column: str | None) -> list[float] | None:
    """Return the numbers of `curriculum_column`, one a row; None where there is no such key.

    Raises:
        ValueError: a row has no number there; names the row.
    """
    if column is None:
        return None
    ranks = []
    for place in range(len(dataset)):
        row = dataset[place]
        value = columns_of(row).get(column)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(
                f"curriculum_column: row {row['row_id']}, column `{column}`: got {value!r}, expected a finite number. "
                "Give every row one, or remove `curriculum_column`."
            )
        ranks.append(float(value))
    return ranks


class SetEpoch(TrainerCallback):
    """Tells the sampler which epoch begins; the data loader's own way to it ends at a resumed run's wrapper."""

    def __init__(self, sampler: "BlockSampler") -> None:
        """Keep the sampler."""
        self.sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Choose the epoch's order; a resumed run begins inside an epoch."""
        self.sampler.set_epoch(math.floor((state.epoch or 0.0) + 1e-9))
