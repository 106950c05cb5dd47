"""What a run will take, from the keys and the number of rows: steps, completions, tokens, memory of weights and optimiser."""

import math
from typing import Any

from ..config import ROWS
from .findings import Report
from .memory import estimate_memory
from .surroundings import GIB
from .weights import Weights


def count_steps(training: Any, rows: int, processes: int = 1) -> int:
    """Return the optimiser steps of a run.

    Args:
        training: the host's training arguments.
        rows: of the training set.
        processes: of the run.
    """
    if training.max_steps > 0:
        return int(training.max_steps)
    batch = training.train_batch_size * training.gradient_accumulation_steps * max(training.world_size, processes)
    return math.ceil(math.ceil(rows / batch) * training.num_train_epochs)


def describe_run(args: Any, rows: int, report: Report, *, processes: int = 1, limited: bool = False) -> int:
    """Report steps and, for the online stages, completions and tokens; return the steps.

    Args:
        args: the host's five argument objects.
        rows: of the training set.
        report: takes the numbers.
        processes: of the run.
        limited: not all rows were looked at.
    """
    training, keys = args.training, args.finetuning
    steps = count_steps(training, rows, processes)
    batch = training.train_batch_size * training.gradient_accumulation_steps
    prompts = steps * batch * max(training.world_size, processes)
    said = f"{steps} steps over {rows} rows, {prompts} rows in all"
    if ROWS.get(keys.stage) == "prompts":
        completions = prompts * keys.num_generations
        most = completions * args.generating.max_new_tokens
        said += f"; {completions} completions, {most:,} written tokens at most"
    said += " (with `check_rows`: of the rows looked at)" if limited and training.max_steps <= 0 else ""
    report.add("note", "estimate", "steps", said + ".")
    return steps


def describe_memory(
    args: Any, weights: Weights, report: Report, *, processes: int = 1, room: float | None = None
) -> float:
    """Report the memory of one process, part by part; return bytes of a full checkpoint.

    Args:
        args: the host's five argument objects.
        weights: of the policy.
        report: takes the numbers; a warning where they are more than `room`.
        processes: of the run.
        room: bytes of the device; None where that is not known.
    """
    memory = estimate_memory(args, weights, processes)
    parts = ", ".join(f"{name} {held / GIB:.2f}" for name, held in memory.kept.items())
    message = f"{weights.numbers / 1e6:.1f} M numbers, in GiB: {parts}; and the larger of "
    message += f"writing {memory.writing / GIB:.2f} and learning {memory.learning / GIB:.2f}"
    message += "".join(f"; not counted: {what}" for what in memory.unknown)
    message += f". About {memory.peak / GIB:.2f} GiB in one process"
    if room is None:
        report.add("note", "estimate", "memory", f"{message}.")
    elif memory.peak > room:
        remedy = "See docs/scale.md for what to change."
        report.add("warning", "estimate", "memory", f"{message}, of {room / GIB:.1f} GiB. {remedy}")
    else:
        report.add("note", "estimate", "memory", f"{message}, of {room / GIB:.1f} GiB.")
    return float(weights.stored + memory.optimizer)
