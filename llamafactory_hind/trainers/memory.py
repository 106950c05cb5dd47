"""Peak memory of this process, for logs."""

import resource
import sys

import torch


def peak_memory_gib() -> float:
    """Return the peak since the start of the process in GiB: device memory on CUDA, resident memory elsewhere."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)  # bytes on macOS, KiB on Linux
