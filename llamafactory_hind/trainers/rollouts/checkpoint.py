"""What a checkpoint of an online run holds beside the host's files, and which checkpoint is the best.

Rollouts that are learnt from more than once are kept in a checkpoint that falls between two passes.
"""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from llamafactory.extras import logging

from ...storage.atomic import write_by
from .batch import RolloutBatch


if TYPE_CHECKING:
    from transformers import TrainingArguments

logger = logging.get_logger("llamafactory.hind.trainers.rollouts.checkpoint")


def _file(folder: Path, process: int) -> Path:
    return folder / f"rollouts_{process}.pt"


def save_batches(folder: Path, batches: list[RolloutBatch], rows: list[list[str]], *, process: int) -> None:
    """Write the micro-batches of this process without their prompts, which the data loader brings again."""
    names = [entry.name for entry in fields(RolloutBatch) if entry.name != "prompts"]
    content = {"rows": rows, "batches": [{name: getattr(batch, name) for name in names} for batch in batches]}
    write_by(_file(folder, process), lambda file: torch.save(content, file))


def load_batches(folder: Path, *, process: int, device: torch.device) -> tuple[list[RolloutBatch], list[list[str]]]:
    """Read what `save_batches` wrote.

    Raises:
        FileNotFoundError: the checkpoint has no rollouts for this process.
    """
    file = _file(folder, process)
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} is missing: the checkpoint stands between two passes over the same rollouts and cannot be resumed without "
            "them. Resume with the `num_iterations` and the number of processes that the run began with."
        )
    content = torch.load(file, map_location=device, weights_only=True)
    return [RolloutBatch(prompts=[], **entry) for entry in content["batches"]], content["rows"]


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
