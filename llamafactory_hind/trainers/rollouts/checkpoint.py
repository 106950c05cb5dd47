"""Rollouts that are learnt from more than once, kept in a checkpoint that falls between two passes."""

from dataclasses import fields
from pathlib import Path

import torch

from .batch import RolloutBatch


def _file(folder: Path, process: int) -> Path:
    return folder / f"rollouts_{process}.pt"


def save_batches(folder: Path, batches: list[RolloutBatch], rows: list[list[str]], *, process: int) -> None:
    """Write the micro-batches of this process without their prompts, which the data loader brings again."""
    names = [entry.name for entry in fields(RolloutBatch) if entry.name != "prompts"]
    folder.mkdir(parents=True, exist_ok=True)
    content = {"rows": rows, "batches": [{name: getattr(batch, name) for name in names} for batch in batches]}
    torch.save(content, _file(folder, process))


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
