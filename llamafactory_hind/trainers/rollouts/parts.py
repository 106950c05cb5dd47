"""The pass over a micro-batch, whole or a few completions at a time.

In parts, the activations of one part at a time are in memory: the backward pass computes each part again (Chen et al., arXiv
1604.06174, with completions in the place of layers). The prompts, where they are shared, are computed once for all parts, and
their gradient is the sum of the parts'. Values and gradients are those of the whole pass.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.checkpoint import checkpoint

from ...engines.local.scoring import base_model, unwrap
from ...losses.head import many_passes
from .annotator import TokenObjective
from .batch import RolloutBatch


if TYPE_CHECKING:
    from .layouts import PromptPrefixes
    from .scoring import GroupScorer


def score_with(
    objective: TokenObjective | None,
    scorer: "GroupScorer",
    model: torch.nn.Module,
    batch: RolloutBatch,
    *,
    rows_at_once: int | None = None,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return log-probs (R, S) of a micro-batch, and the streams of an objective, name -> (R, S), from one pass of the model.

    Args:
        objective: computed beside the log-probs; None for none.
        scorer: of the log-probs.
        model: wrapped or not.
        batch: the completions.
        rows_at_once: completions at a time; None is all.
    """
    count = len(batch.owners)
    if rows_at_once is None or count <= rows_at_once:
        logps, streams = _score(objective, scorer, model, batch)
        return logps, {name: spread(values, batch.mask) for name, values in streams.items()}
    prefixes = scorer.prefixes(model, batch)
    whole = torch.zeros(batch.mask.shape, device=batch.mask.device)  # (R, S)
    scored: dict[str, torch.Tensor] = {}
    for start in range(0, count, rows_at_once):
        rows = torch.arange(start, min(start + rows_at_once, count), device=batch.owners.device)
        part = batch.take(rows)
        logps, streams = _computed_again(objective, scorer, model, part, prefixes)
        found = {"": logps} | {name: spread(values, part.mask) for name, values in streams.items()}
        for name, values in found.items():
            before = scored.get(name, whole.to(values.dtype))
            places = (rows[:, None], torch.arange(values.shape[1], device=values.device))
            scored[name] = before.index_put(places, values)
    return scored.pop(""), scored


def spread(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return (M,) values at the M places of a mask (R, S), 0 elsewhere."""
    return values.new_zeros(mask.shape).masked_scatter(mask, values)


def _score(
    objective: TokenObjective | None,
    scorer: "GroupScorer",
    model: torch.nn.Module,
    batch: RolloutBatch,
    prefixes: "PromptPrefixes | None" = None,
    prepared: Any = None,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return log-probs (R, S), and streams (M,)."""
    if objective is None:
        return scorer(model, batch, prefixes=prefixes), {}
    if prepared is None:
        prepared = _prepared(objective, batch)
    found: dict[str, torch.Tensor] = {}

    def also(hidden: torch.Tensor, head: Mapping[str, Any], targets: torch.Tensor) -> None:
        found.update(objective.compute(hidden, head, targets, prepared))

    logps = scorer(model, batch, also=also, prefixes=prefixes)
    return logps, found


def _prepared(objective: TokenObjective, batch: RolloutBatch) -> Any:
    with torch.no_grad():
        return objective.prepare(batch)


def _computed_again(
    objective: TokenObjective | None,
    scorer: "GroupScorer",
    model: torch.nn.Module,
    part: RolloutBatch,
    prefixes: "PromptPrefixes | None",
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Do what `_score` does and forget the activations; they are computed again where a gradient needs them."""
    prepared = None if objective is None else _prepared(objective, part)
    names: list[str] = []
    passes: list[int] = []

    def compute() -> tuple[torch.Tensor, ...]:
        # wrappers count their forward passes: the second one is no news to them
        shown = unwrap(model) if passes else model
        passes.append(1)
        with many_passes():
            logps, streams = _score(objective, scorer, shown, part, prefixes, prepared)
        names[:] = streams
        return (logps, *streams.values())

    run = compute if not torch.is_grad_enabled() or _checkpoints(model) else _checkpointed(compute)
    logps, *streams = run()
    return logps, dict(zip(names, streams, strict=True))


def _checkpointed(compute: Callable[[], tuple[torch.Tensor, ...]]) -> Callable[[], tuple[torch.Tensor, ...]]:
    return lambda: checkpoint(compute, use_reentrant=False)


def _checkpoints(model: torch.nn.Module) -> bool:
    """Say whether the model forgets and computes again by itself, layer by layer."""
    return bool(getattr(base_model(model), "is_gradient_checkpointing", False))
