"""`torchrun fsdp_on_cpu.py FILE.yaml`: a run under FSDP2 without a GPU, which accelerate alone would quietly run as DDP.

Accelerate shards on devices other than the CPU only. Here it is told that the CPU is one; everything else is its own code, that of
torch, the host and ours, as `accelerate launch` with its FSDP variables would start it.
"""

import os
from typing import Any

import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback


ENVIRONMENT = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
}


class Sharded(TrainerCallback):
    """Fails a run whose weights are whole."""

    def on_step_end(self, args: Any, state: Any, control: Any, model: torch.nn.Module, **_: Any) -> None:
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        assert weights
        assert all(isinstance(weight, DTensor) for weight in weights), "not sharded"


def main() -> None:
    """Train as `llamafactory-cli train FILE.yaml` does in each of its processes."""
    os.environ.update(ENVIRONMENT)
    PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_NPU)
    PartialState.set_device = lambda self: setattr(self, "device", torch.device("cpu"))
    from llamafactory.train.tuner import run_exp

    run_exp(callbacks=[Sharded()])


if __name__ == "__main__":
    main()
