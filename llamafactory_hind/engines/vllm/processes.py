"""Work that the first process of a run does alone, while the others wait for its result or its error."""

from collections.abc import Callable
from typing import Any

import torch


def is_first() -> bool:
    """Whether this is the first process, or the only one."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def on_first(work: Callable[[], str]) -> str:
    """Return on every process what the first one's work returns.

    Raises:
        RuntimeError: the work failed; on the first process the error itself is raised.
    """
    if not torch.distributed.is_initialized():
        return work()
    told: list[Any] = [None, None]
    failed: BaseException | None = None
    if is_first():
        try:
            told[0] = work()
        except Exception as error:
            failed, told[1] = error, str(error)
    torch.distributed.broadcast_object_list(told, src=0)
    if failed is not None:
        raise failed
    if told[1] is not None:
        raise RuntimeError(f"The first process could not hand over the weights: {told[1]}")
    return str(told[0])
