"""What the rollout trainer does at events of the Trainer."""

import math
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback


if TYPE_CHECKING:
    from .rollouts.order import BlockSampler
    from .rollouts.trainer import RolloutTrainer


class SetEpoch(TrainerCallback):
    """Tells the sampler which epoch begins; the data loader's own way to it ends at a resumed run's wrapper."""

    def __init__(self, sampler: "BlockSampler") -> None:
        """Keep the sampler."""
        self.sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Choose the epoch's order; a resumed run begins inside an epoch."""
        self.sampler.set_epoch(math.floor((state.epoch or 0.0) + 1e-9))


class CloseRollouts(TrainerCallback):
    """Waits at the end for what is still on its way to disk."""

    def __init__(self, trainer: "RolloutTrainer") -> None:
        """Keep the trainer."""
        self.trainer = trainer

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the bar and the completion log."""
        self.trainer.close_rollouts()
