"""A Trainer that follows the host's YAML keys for optimisers, schedulers and precision."""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from llamafactory.train.trainer_utils import create_custom_optimizer, create_custom_scheduler

from .restoring import RestoringTrainer


if TYPE_CHECKING:
    from llamafactory.hparams import FinetuningArguments
    from transformers import TrainingArguments


class HostedTrainer(RestoringTrainer):
    """`RestoringTrainer` with the host's optimisers and schedulers; set `finetuning_args`."""

    finetuning_args: "FinetuningArguments"

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """Build the optimiser the host's YAML keys ask for (GaLore, LoRA+, Muon ...), or the Trainer's own."""
        if self.optimizer is None:
            self.optimizer = create_custom_optimizer(self.model, self.args, self.finetuning_args)
        return super().create_optimizer(*args, **kwargs)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Build the scheduler the host's YAML keys ask for, or the Trainer's own."""
        create_custom_scheduler(self.args, num_training_steps, optimizer)
        return super().create_scheduler(num_training_steps, optimizer)

    def precision(self) -> AbstractContextManager[Any]:
        """The precision that training computes in, for passes that do not go through the wrapped model."""
        return precision_of(self.args)


def precision_of(args: "TrainingArguments") -> AbstractContextManager[Any]:
    """Return the context of a run's mixed precision."""
    if args.bf16 or args.fp16:
        return torch.autocast(args.device.type, dtype=torch.bfloat16 if args.bf16 else torch.float16)
    return nullcontext()
