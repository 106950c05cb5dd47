"""What a run will take, from the keys and the number of rows: steps, completions, tokens, memory of weights and optimiser."""

import math
from typing import Any

from ..config import ROWS
from .findings import Report
from .surroundings import GIB
from .weights import Weights


ADAM = 8  # bytes a trained number: two moments in float32
MASTER = 4  # bytes a trained number: the float32 weights and, with pure half precision, none


def count_steps(training: Any, rows: int) -> int:
    """Return the optimiser steps of a run.

    Args:
        training: the host's training arguments.
        rows: of the training set.
    """
    if training.max_steps > 0:
        return int(training.max_steps)
    batch = training.train_batch_size * training.gradient_accumulation_steps * max(training.world_size, 1)
    return math.ceil(math.ceil(rows / batch) * training.num_train_epochs)


def describe_run(args: Any, rows: int, report: Report, *, limited: bool = False) -> int:
    """Report steps and, for the online stages, completions and tokens; return the steps.

    Args:
        args: the host's five argument objects.
        rows: of the training set.
        report: takes the numbers.
        limited: not all rows were looked at.
    """
    training, keys = args.training, args.finetuning
    steps = count_steps(training, rows)
    prompts = steps * training.train_batch_size * training.gradient_accumulation_steps * max(training.world_size, 1)
    said = f"{steps} steps over {rows} rows, {prompts} rows in all"
    if ROWS.get(keys.stage) == "prompts":
        completions = prompts * keys.num_generations
        most = completions * args.generating.max_new_tokens
        said += f"; {completions} completions, {most:,} written tokens at most"
    said += " (with `check_rows`: of the rows looked at)" if limited and training.max_steps <= 0 else ""
    report.add("note", "estimate", "steps", said + ".")
    return steps


def describe_memory(args: Any, weights: Weights, report: Report) -> float:
    """Report the memory of weights, gradients and optimiser of one process; return bytes of a full checkpoint.

    Activations and the cache of completions come on top: they depend on lengths and pictures, and are not estimated here.
    """
    full = args.finetuning.finetuning_type == "full"
    half = args.training.bf16 or args.training.fp16
    trained = weights.numbers if full else 0
    held = weights.numbers * (2 if half and not full else 4 if not args.finetuning.pure_bf16 else 2)
    optimiser = trained * ADAM
    gradients = trained * MASTER
    references = 1 if getattr(args.finetuning, "kl_beta", 0) and full else 0
    total = held * (1 + references) + optimiser + gradients
    parts = f"weights {held / GIB:.2f} GiB" + (" and as much for the reference" if references else "")
    if full:
        parts += f", gradients {gradients / GIB:.2f}, optimizer {optimiser / GIB:.2f}"
    else:
        parts += f", {args.finetuning.finetuning_type}: gradients and optimizer of the trained part alone"
    message = f"{weights.numbers / 1e6:.1f} M numbers: {parts}; {total / GIB:.2f} GiB in one process, and activations."
    report.add("note", "estimate", "memory", message)
    return float(weights.stored + optimiser)
