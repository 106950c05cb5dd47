"""One call of a vision tower as calls for its pictures: its arguments apart, its results split and joined."""

import inspect
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.utils import ModelOutput


PLAIN = (type(None), bool, int, float, str, torch.dtype)  # arguments that say how, not what


class Inseparable(ValueError):
    """A call or a result in which the pictures cannot be separated."""


@dataclass(frozen=True)
class Pictures:
    """The arguments of one call, name -> value, for each of its pictures, and the share of the work that each is."""

    each: list[dict[str, Any]]
    counts: list[int]

    def some(self, numbers: Sequence[int]) -> "Pictures":
        """Return some of them."""
        return Pictures([self.each[number] for number in numbers], [self.counts[number] for number in numbers])

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of one call for all of them."""
        return {name: _stacked([one[name] for one in self.each]) for name in self.each[0]}


def pictures_of(forward: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Pictures:
    """Tell the pictures of a call apart.

    Towers of Qwen's kind take the patches of all pictures (P, D) and `grid_thw` (N, 3), whose products are their numbers of
    patches; others take pictures or tiles of one size (N, ...).

    Raises:
        Inseparable: the arguments have another form.
    """
    named = {**dict(zip(inspect.signature(forward).parameters, args, strict=False)), **kwargs}
    tensors = {name: value for name, value in named.items() if isinstance(value, torch.Tensor)}
    others = {name: value for name, value in named.items() if name not in tensors}
    if len(named) < len(args) + len(kwargs) or not tensors or not all(isinstance(v, PLAIN) for v in others.values()):
        raise Inseparable("arguments that are neither tensors nor plain")
    if not all(value.dim() for value in tensors.values()):
        raise Inseparable("a tensor that is one number")
    grid = tensors.get("grid_thw")
    size = len(next(iter(tensors.values()))) if grid is None else len(grid)
    counts = [1] * size if grid is None else grid.prod(-1).tolist()
    parts = {name: _parts(value, counts) for name, value in tensors.items()}
    each = [{name: parts[name][i] if name in parts else named[name] for name in named} for i in range(size)]
    return Pictures(each, counts)


def _parts(value: torch.Tensor, counts: list[int]) -> Sequence[torch.Tensor]:
    if len(value) == len(counts):
        return value.split(1)
    if len(value) == sum(counts):
        return value.split(counts)
    raise Inseparable(f"a tensor of length {len(value)} for pictures of {counts}")


def fingerprints(pictures: Pictures) -> list[Hashable]:
    """Return something cheap for each picture that is equal for equal pictures; the sums wait for the device once."""
    tensors = [[value for value in one.values() if isinstance(value, torch.Tensor)] for one in pictures.each]
    sums = [value.contiguous().view(torch.uint8).sum(dtype=torch.int64) for one in tensors for value in one]
    numbers = iter(torch.stack(sums).tolist() if sums else [])
    return [tuple((tuple(value.shape), value.dtype, next(numbers)) for value in one) for one in tensors]


def cut(result: Any, counts: list[int]) -> list[Any]:
    """Return what a call's result holds of each picture: first dimensions are shared out as the patches are.

    Raises:
        Inseparable: a part of the result is not a tensor whose first dimension can be shared out so.
    """
    if result is None:
        return [None] * len(counts)
    if isinstance(result, torch.Tensor) and result.dim():
        rows, total = len(result), sum(counts)
        if any(count * rows % total for count in counts):
            raise Inseparable(f"{rows} rows for pictures of {counts}")
        return list(result.split([count * rows // total for count in counts]))
    if isinstance(result, ModelOutput):
        columns = {name: cut(value, counts) for name, value in result.items()}
        return [type(result)(**{name: parts[i] for name, parts in columns.items()}) for i in range(len(counts))]
    if type(result) in (list, tuple):
        columns = [cut(value, counts) for value in result]
        return [type(result)(parts[i] for parts in columns) for i in range(len(counts))]
    raise Inseparable(f"a result of type {type(result).__name__}")


def joined(parts: Sequence[Any]) -> Any:
    """Undo `cut`."""
    first = parts[0]
    if first is None:
        return None
    if isinstance(first, torch.Tensor):
        return torch.cat(list(parts))
    if isinstance(first, ModelOutput):
        return type(first)(**{name: joined([part[name] for part in parts]) for name in first})
    return type(first)(joined(column) for column in zip(*parts, strict=True))


def close(one: Any, other: Any) -> bool:
    """Whether two results agree as well as two ways to batch the same sums do."""
    if isinstance(one, torch.Tensor):
        tolerance = 1e-4 if one.dtype in (torch.float32, torch.float64) else 2e-2  # [ours]
        return one.shape == other.shape and bool((one - other).abs().max() <= tolerance * other.abs().max())
    if isinstance(one, ModelOutput):
        return all(close(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return all(close(first, second) for first, second in zip(one, other, strict=True))
    return one is None and other is None


def _stacked(values: list[Any]) -> Any:
    return torch.cat(values) if isinstance(values[0], torch.Tensor) else values[0]
