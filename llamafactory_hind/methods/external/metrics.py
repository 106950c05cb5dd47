"""What became of each source's texts, for the log."""

from collections.abc import Mapping, Sequence

import torch

from ...trainers.rollouts.batch import RolloutBatch
from ...trainers.rollouts.records import POLICY, Rollout, Scores, padded
from .candidates import REFUSALS, Candidates


def source_metrics(
    candidates: Sequence[Candidates],
    scores: Scores,
    kept: Sequence[Rollout],
    advantages: torch.Tensor,
    sources: Sequence[str],
) -> dict[str, torch.Tensor]:
    """Return what became of each source's actions; NaN where there is none.

    `source/<name>/offered` and `kept` are counts a prompt, `reward` is that of all it offered, `advantage` that of what was kept.
    `external/kept_share` is the share of external actions in a group, `external/refused_<reason>` counts a prompt.
    """
    offered, chosen = [each.rollout.sources for each in candidates], [rollout.sources for rollout in kept]
    found = {"external/kept_share": [[1 - group.count(POLICY) / len(group)] for group in chosen]}
    found |= {f"external/refused_{reason}": [[each.refused[reason]] for each in candidates] for reason in REFUSALS}
    for source in sources:
        found[f"source/{source}/offered"] = [[group.count(source)] for group in offered]
        found[f"source/{source}/kept"] = [[group.count(source)] for group in chosen]
        found[f"source/{source}/reward"] = _of_source(source, offered, scores.total)
        found[f"source/{source}/advantage"] = _of_source(source, chosen, advantages)
    return {name: padded(values, dtype=torch.float64) for name, values in found.items()}


def _of_source(source: str, names: Sequence[Sequence[str]], values: torch.Tensor) -> list[list[float]]:
    """Return the values of one source in each group."""
    return [
        [value for name, value in zip(group, row, strict=False) if name == source]
        for group, row in zip(names, values.tolist(), strict=True)
    ]


def metrics_by_source(
    metrics: Mapping[str, torch.Tensor], logps: torch.Tensor, batch: RolloutBatch
) -> dict[str, torch.Tensor]:
    """Return ratio, clipped share and probability under the policy of each source's tokens, (R, S), NaN at those of others."""
    seen = {"ratio": metrics["ratio"], "clip": metrics["clip/region"], "probability": logps.exp()}
    found: dict[str, torch.Tensor] = {}
    for source in sorted(set(batch.sources)):
        own = torch.tensor([name == source for name in batch.sources], device=logps.device)[:, None]
        found |= {f"source/{source}/{name}": torch.where(own, values, float("nan")) for name, values in seen.items()}
    return found
