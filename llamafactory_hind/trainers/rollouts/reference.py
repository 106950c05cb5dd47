"""The reference of the KL term: the model as it was loaded, for every tuning.

For an adapter that is new this is the base, adapter off. An adapter that was trained before is kept as a frozen copy of its
tensors, which stand in the places of the trained ones while the reference computes: nothing more is saved, trained or wrapped,
and a resumed run, which loads the first adapter before its checkpoint, has the same reference. Otherwise it is another model:
`ref_model`, or the copy that the host makes for full and freeze tuning.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from llamafactory.extras import logging
from peft import PeftModel


logger = logging.get_logger("llamafactory.hind.trainers.rollouts.reference")
ZERO_AT_START = ("lora_B", "lora_embedding_A", "oft_R")  # parameters of which an adapter that says nothing has zeros


class Reference:
    """What the policy is held to.

    Args:
        policy: the model as it was loaded, before any checkpoint.
        other: another model, whole; None takes the policy itself.

    Raises:
        ValueError: there is no other model, and the policy is no adapter.
    """

    def __init__(self, policy: torch.nn.Module, other: torch.nn.Module | None) -> None:
        """Copy a trained adapter; say which reference it is."""
        if other is None and not isinstance(policy, PeftModel):
            raise ValueError("A component of the loss needs a reference: give a reference model, or train an adapter.")
        self.policy = policy
        self.other = None if other is None else other.eval().requires_grad_(False)
        self.copy: dict[str, torch.Tensor] = {}
        if other is not None:
            logger.info_rank0("Reference of the KL term: a frozen model of its own.")
        elif has_learnt(policy):
            trained = [(name, entry) for name, entry in policy.named_parameters() if entry.requires_grad]
            self.copy = {name: entry.detach().clone() for name, entry in trained}
            count = sum(entry.numel() for entry in self.copy.values())
            logger.info_rank0(
                f"Reference of the KL term: the adapter as it was loaded, a frozen copy of {count:,} numbers."
            )
        else:
            logger.info_rank0("Reference of the KL term: the base model, adapter off (the adapter is new).")

    @contextmanager
    def active(self, device: torch.device) -> Iterator[torch.nn.Module]:
        """Give the model that computes as the reference while the block runs, without gradient."""
        with torch.no_grad():
            if self.other is not None:
                if next(self.other.parameters()).device != device:
                    self.other.to(device)
                yield self.other
            elif self.copy:
                with standing_in(self.policy, self.copy):
                    yield self.policy
            else:
                with self.policy.disable_adapter():
                    yield self.policy


@contextmanager
def standing_in(model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Let tensors stand in the places of the parameters of these names while the block runs."""
    torch.clear_autocast_cache()  # it knows parameters by the object, whose content changes
    kept = [(entry, entry.data) for name, entry in model.named_parameters() if name in tensors]
    try:
        for name, entry in model.named_parameters():
            if name in tensors:
                entry.data = tensors[name].to(entry.device, entry.dtype)
        yield
    finally:
        for entry, data in kept:
            entry.data = data
        torch.clear_autocast_cache()


def has_learnt(model: PeftModel) -> bool:
    """Whether the active adapter changes what the base says: it was trained before it was loaded."""
    for name, entry in model.named_parameters():
        if entry.requires_grad and any(part in ZERO_AT_START for part in name.split(".")) and entry.any():
            return True
    return any(_copy_differs(module) for module in model.modules())


def _copy_differs(module: torch.nn.Module) -> bool:
    """Whether a module that is trained as a whole (`additional_target`) differs from the base's."""
    if not (hasattr(module, "modules_to_save") and hasattr(module, "original_module")):
        return False
    original = module.original_module.state_dict()
    return any(
        not torch.equal(tensor, original[name].to(tensor.device, tensor.dtype))
        for active in module.active_adapters
        for name, tensor in module.modules_to_save[active].state_dict().items()
        if name in original
    )
