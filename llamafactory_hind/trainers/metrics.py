"""Running means of metrics over rows, tokens or steps, across processes."""

import resource
import sys
from typing import TYPE_CHECKING

import torch
from accelerate.utils import gather_object


if TYPE_CHECKING:
    from accelerate import Accelerator


class Averages:
    """Sums and counts by name; a metric that nothing was added to does not appear, rather than as NaN."""

    def __init__(self) -> None:
        """Start empty."""
        self._parts: dict[str, list[tuple[torch.Tensor | float, torch.Tensor | float]]] = {}

    def add(self, name: str, total: torch.Tensor | float, count: torch.Tensor | float = 1.0) -> None:
        """Add a sum over `count` things; tensors stay on their device until `take`."""
        self._parts.setdefault(name, []).append((total, count))

    def add_values(self, name: str, values: torch.Tensor) -> None:
        """Add values of any shape; NaN says that there is none."""
        there = ~values.isnan()
        self.add(name, torch.where(there, values, 0.0).sum(dtype=torch.float64), there.sum())

    def take(self, accelerator: "Accelerator") -> dict[str, float]:
        """Return the means over all processes since the last call; every process must call."""
        parts, self._parts = self._parts, {}
        sums = {
            name: tuple(sum(float(number) for number in column) for column in zip(*pairs, strict=True))
            for name, pairs in parts.items()
        }
        everyone = gather_object([sums]) if accelerator.num_processes > 1 else [sums]
        names = sorted({name for one in everyone for name in one})
        means = {}
        for name in names:
            total, count = (sum(one.get(name, (0.0, 0.0))[place] for one in everyone) for place in (0, 1))
            if count:
                means[name] = total / count
        return means


def peak_memory_gib() -> float:
    """Return the peak since the start of the process in GiB: device memory on CUDA, resident memory elsewhere."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)  # bytes on macOS, KiB on Linux
