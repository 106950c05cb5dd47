"""Rows of all processes, in the order of the processes, with gradients back to the process that they came from."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import distributed

from .texts import unpadded


def world() -> int:
    """Return how many processes compute together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Return the number of this process."""
    return distributed.get_rank() if world() > 1 else 0


class _Gather(torch.autograd.Function):
    """All-gather whose gradient is the sum over processes: each of them has a loss that sees the rows of all."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:
        parts = [torch.empty_like(rows) for _ in range(world())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        summed = gradient.contiguous().clone()
        distributed.all_reduce(summed)
        return summed.chunk(world())[rank()]


def gather_rows(rows: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
    """Return the rows of all processes, (M, ...); gradients come back, summed over the processes.

    Args:
        rows: (N, ...) of this process.
        counts: N of every process, see `gather_counts`.
    """
    if world() == 1:
        return rows
    most = max(counts)
    padded = torch.cat([rows, rows.new_zeros(most - len(rows), *rows.shape[1:])])
    parts = _Gather.apply(padded).split(most)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def gather_counts(count: int, device: torch.device) -> list[int]:
    """Return a number of every process."""
    if world() == 1:
        return [count]
    own = torch.tensor([count], device=device)
    parts = [torch.empty_like(own) for _ in range(world())]
    distributed.all_gather(parts, own)
    return [int(part) for part in parts]


def gather_texts(ids: torch.Tensor, mask: torch.Tensor, counts: Sequence[int]) -> list[torch.Tensor]:
    """Return the token ids of the texts of all processes, each without padding.

    Args:
        ids: (N, S) padded on the right.
        mask: (N, S), 1 for a token.
        counts: N of every process.
    """
    if world() > 1:
        longest = max(gather_counts(ids.shape[1], ids.device))
        wide = [torch.nn.functional.pad(some, (0, longest - ids.shape[1])) for some in (ids, mask)]
        ids, mask = (gather_rows(some, counts) for some in wide)
    return unpadded(ids, mask)


def from_first(values: torch.Tensor) -> torch.Tensor:
    """Return the values of the first process, in all: what is drawn must be the same everywhere."""
    if world() > 1:
        distributed.broadcast(values, 0)
    return values
