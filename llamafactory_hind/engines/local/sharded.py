"""A model that FSDP2 has split over processes, whole for a while: gathered once, so that passes in between need no other process.

While it is split, each forward pass of a block is a gather in which all processes take part. Processes that write texts of different
lengths, or score other numbers of batches, would wait for each other for ever.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from .towers import frozen_towers


def is_sharded(model: nn.Module) -> bool:
    """Whether FSDP2 has split a model."""
    return next(_parts(model), None) is not None


def is_split_now(model: nn.Module) -> bool:
    """Whether weights of a model are on other processes at this moment; inside `whole` they are not."""
    return any(isinstance(weight, DTensor) for weight in model.parameters())


def keep_towers_whole(model: nn.Module) -> None:
    """Gather the frozen towers of a split model and leave them whole; saving splits them again, so ask before every step.

    A batch may have pictures, videos, both or none: processes call a tower another number of times. Whole, it needs no gather, and
    frozen, it has no gradient to share.
    """
    if is_sharded(model):
        _find_root(model)
        for tower in frozen_towers(model):
            for part in _parts(tower):
                part.set_reshard_after_forward(False, recurse=False)
                part.set_reshard_after_backward(False, recurse=False)
                part.unshard()


@contextmanager
def whole(model: nn.Module) -> Iterator[None]:
    """Gather the weights of a model on every process while the block runs; every process must enter it equally often.

    Each process then holds all weights in the dtype of the forward pass, beside its own part of them. Frozen towers stay whole behind
    it. A model that is not split is left alone.
    """
    parts = list(_parts(model))
    if not parts:
        yield
        return
    keep_towers_whole(model)
    kept = {id(part) for tower in frozen_towers(model) for part in _parts(tower)}
    _find_root(model)
    groups = [(part, part._get_fsdp_state()._fsdp_param_group) for part in parts if id(part) not in kept]
    before = [None if group is None else group.post_forward_mesh_info for _, group in groups]
    for part, _ in groups:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for (part, group), after_forward in zip(groups, before, strict=True):
            if group is not None:
                group.post_forward_mesh_info = after_forward
                part.reshard()


def _find_root(model: nn.Module) -> None:
    """Tell FSDP which module is the outermost; else the first block that is called takes itself for it."""
    next(_parts(model))._get_fsdp_state()._lazy_init()


def _parts(model: nn.Module) -> Iterator[FSDPModule]:
    return (module for module in model.modules() if isinstance(module, FSDPModule))
