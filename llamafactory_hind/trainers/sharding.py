"""The last look at how a model is split over processes, at the accelerator, which every launcher fills."""

from typing import TYPE_CHECKING

from accelerate.utils import DistributedType

from ..config.sharding import Sharding, sharding_problem


if TYPE_CHECKING:
    from accelerate import Accelerator


def sharding_of(accelerator: "Accelerator") -> Sharding | None:
    """Return how the accelerator splits the model, None where each process holds it whole."""
    kind = accelerator.distributed_type
    if kind == DistributedType.DEEPSPEED:
        return "zero_3" if accelerator.state.deepspeed_plugin.zero_stage == 3 else None
    if kind == DistributedType.FSDP:
        return "fsdp_2" if accelerator.is_fsdp2 else "fsdp_1"
    return "megatron" if kind == DistributedType.MEGATRON_LM else None


def refuse_sharding(accelerator: "Accelerator", rows: str) -> None:
    """Stop before references or rollouts are paid for, if a loop over such rows cannot work with the accelerator.

    Args:
        accelerator: the trainer's.
        rows: `pairs` or `prompts`.

    Raises:
        ValueError: the model would be split in a way that this loop cannot work with.
    """
    sharding = sharding_of(accelerator)
    if sharding is None:
        return
    kind = accelerator.distributed_type.value
    problem = sharding_problem(sharding, rows, "accelerator.distributed_type", kind)
    if problem is not None:
        raise ValueError(str(problem))
