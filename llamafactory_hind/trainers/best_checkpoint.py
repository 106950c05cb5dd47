"""Which checkpoint of an online run is the best: the one with the highest reward, not the lowest loss."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llamafactory.extras import logging


if TYPE_CHECKING:
    from transformers import TrainingArguments

logger = logging.get_logger("llamafactory.hind.trainers.best_checkpoint")


def choose_best_by_reward(args: "TrainingArguments", eval_dataset: Any) -> None:
    """Let `load_best_model_at_end` mean the reward: the Trainer's own default is a loss, which says nothing here.

    Args:
        args: changed in place, unless they name another metric.
        eval_dataset: of several, the first one decides.
    """
    if not args.load_best_model_at_end or args.metric_for_best_model not in (None, "loss", "eval_loss"):
        return
    names = list(eval_dataset) if isinstance(eval_dataset, Mapping) else []
    args.metric_for_best_model = f"eval_{names[0]}_reward" if names else "eval_reward"
    args.greater_is_better = True
    logger.info_rank0(f"The best checkpoint is the one with the highest `{args.metric_for_best_model}`.")
